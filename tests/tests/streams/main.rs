//! Nothing runs longer than its token (A19, I13): responses, uploads and upgraded connections, over real sockets,
//! with a clock that only the test moves.

mod rig;
mod answers;
mod uploads;
mod upgrades;
mod websockets;
mod long;
