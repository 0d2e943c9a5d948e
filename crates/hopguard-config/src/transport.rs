//! `[transport]`: how authorization servers are reached.

use std::sync::Arc;
use std::time::Duration;

use hopguard_client::{HttpTransport, Transport};
use hopguard_core::ConfigErrors;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use crate::section::Section;

/// The settings of the transport.
#[derive(Debug, Default)]
pub(crate) struct TransportPlan {
    timeout: Option<Duration>,
    response_at_most: Option<usize>,
    roots: Vec<CertificateDer<'static>>,
}

impl TransportPlan {
    pub(crate) fn read(mut section: Section<'_>) -> Self {
        let (timeout, response_at_most) = (section.duration("timeout"), section.count("response_at_most"));
        let mut plan = Self { timeout, response_at_most, roots: Vec::new() };
        let Some(path) = section.path("extra_roots_file") else { return plan };
        let read = std::fs::read(&path);
        let certificates =
            read.map(|pem| CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>());
        match certificates {
            Ok(Ok(certificates)) if !certificates.is_empty() => plan.roots = certificates,
            Ok(_) => section.problem("extra_roots_file", "names a file that holds no certificates as PEM"),
            Err(error) => {
                section.problem("extra_roots_file", format!("names a file that cannot be read: {error}"));
            }
        }
        plan
    }

    pub(crate) fn make(&self) -> Result<Arc<dyn Transport>, ConfigErrors> {
        let mut builder = HttpTransport::builder();
        if let Some(timeout) = self.timeout {
            builder = builder.timeout(timeout);
        }
        if let Some(bytes) = self.response_at_most {
            builder = builder.response_at_most(bytes);
        }
        for root in &self.roots {
            builder = builder.extra_root(root);
        }
        Ok(Arc::new(builder.build()?))
    }
}
