//! What the integration tests of the workspace share; it holds no test of its own and is never published.
