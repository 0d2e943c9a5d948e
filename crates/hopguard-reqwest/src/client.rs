//! The guarded client.

use std::time::Duration;

use hopguard_core::{Admitted, ConfigErrors, Problems, Waiver, seconds};
use hopguard_tower::{Egress, EgressService, OnBehalfOf};
use http::{HeaderValue, Method};
use tower_layer::Layer;

use crate::request::RequestBuilder;
use crate::transport::ReqwestTransport;

/// A client behind an egress stack. Cloning it shares connections and grants.
#[derive(Clone, Debug)]
pub struct GuardedClient {
    service: EgressService<ReqwestTransport>,
}

impl GuardedClient {
    /// Begins a client; every option there is is on the builder.
    #[must_use]
    pub fn builder() -> GuardedClientBuilder {
        GuardedClientBuilder {
            timeout: seconds(30),
            connect_timeout: seconds(5),
            user_agent: concat!("hopguard/", env!("CARGO_PKG_VERSION")).into(),
            roots: Vec::new(),
        }
    }

    /// Wraps a client that was made elsewhere.
    ///
    /// Its redirects, retries, cookies, default headers and proxies happen below every check of the stack:
    /// whoever calls this has switched them off. Each call is audited under the waiver, and refused from its end on.
    #[must_use]
    pub fn dangerous_from_client(client: reqwest::Client, egress: &Egress, waiver: Waiver) -> Self {
        let egress = egress.dangerous_before_foreign_client(waiver);
        Self { service: egress.layer(ReqwestTransport(client)) }
    }

    /// Calls on behalf of this caller.
    ///
    /// There is no ambient caller: a task that is spawned takes the evidence along, or has none.
    ///
    /// ```no_run
    /// # use hopguard_core::Admitted;
    /// # use hopguard_reqwest::GuardedClient;
    /// # fn of(client: GuardedClient, caller: &Admitted) {
    /// let caller = caller.clone(); // shares the token, copies none
    /// tokio::spawn(async move {
    ///     client.on_behalf_of(&caller).post("https://audit.internal/reads").send().await
    /// });
    /// # }
    /// ```
    ///
    /// Without it nothing compiles that could make the call:
    ///
    /// ```compile_fail,E0061
    /// # use hopguard_reqwest::GuardedClient;
    /// # fn of(client: GuardedClient) {
    /// tokio::spawn(async move { client.on_behalf_of().get("https://audit.internal/reads").send().await });
    /// # }
    /// ```
    #[must_use]
    pub fn on_behalf_of(&self, caller: &Admitted) -> Calls {
        Calls { service: self.service.clone(), subject: Some(OnBehalfOf::caller(caller)) }
    }

    /// Calls in this service's own name, for work that serves no request: a job, a watcher, a start-up check. Open
    /// to them are anonymous routes, and those with a credential of our own that demand nothing of callers or
    /// say that they serve ourselves as well ([`OnBehalfOf::ourselves`]).
    ///
    /// Inside a request take [`on_behalf_of`](Self::on_behalf_of): the route decides what is attached, and its
    /// demand on the caller is then judged.
    #[must_use]
    pub fn as_ourselves(&self) -> Calls {
        Calls { service: self.service.clone(), subject: Some(OnBehalfOf::ourselves()) }
    }

    /// Calls on behalf of nobody: only anonymous routes are open to them.
    #[must_use]
    pub fn as_nobody(&self) -> Calls {
        Calls { service: self.service.clone(), subject: None }
    }
}

/// The options of a guarded client: a closed set, none of which sends anything the stack has not seen.
#[derive(Debug)]
pub struct GuardedClientBuilder {
    timeout: Duration,
    connect_timeout: Duration,
    user_agent: String,
    roots: Vec<Vec<u8>>,
}

impl GuardedClientBuilder {
    /// The longest a request may take, its answer's body included; 30 seconds unless set.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The longest that connecting may take; 5 seconds unless set.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// The `User-Agent`; `hopguard/` and the version unless set.
    #[must_use]
    pub fn user_agent(mut self, name: &str) -> Self {
        self.user_agent = name.into();
        self
    }

    /// Trusts this root certificate (DER) as well as the platform's.
    #[must_use]
    pub fn extra_root(mut self, der: &[u8]) -> Self {
        self.roots.push(der.to_vec());
        self
    }

    /// The client behind `egress`.
    ///
    /// # Errors
    ///
    /// [`ConfigErrors`] for a root that is no certificate, a timeout of zero, or a user agent that is no
    /// header value.
    pub fn build(self, egress: &Egress) -> Result<GuardedClient, ConfigErrors> {
        let mut problems = Problems::new();
        if self.timeout.is_zero() || self.connect_timeout.is_zero() {
            problems.add("client.timeout", "is zero: no request could ever succeed");
        }
        if self.user_agent.parse::<HeaderValue>().is_err() {
            problems.add("client.user_agent", "has characters that no header can hold");
        }
        let roots: Vec<_> = self.roots.iter().map(|der| reqwest::Certificate::from_der(der)).collect();
        for (index, root) in roots.iter().enumerate() {
            // A certificate is read only when a client is made of it.
            let works = |root: &reqwest::Certificate| {
                reqwest::Client::builder().tls_certs_only([root.clone()]).build().is_ok()
            };
            if !root.as_ref().is_ok_and(works) {
                problems.add(format!("client.extra_root[{index}]"), "is not a certificate in DER");
            }
        }
        if !problems.is_empty() {
            return Err(problems.into_errors());
        }
        let client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .no_proxy()
            // Another crate may have switched these features of `reqwest` on.
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate()
            .timeout(self.timeout)
            .connect_timeout(self.connect_timeout)
            .user_agent(self.user_agent)
            .tls_certs_merge(roots.into_iter().flatten())
            .build();
        match client {
            Ok(client) => Ok(GuardedClient { service: egress.layer(ReqwestTransport(client)) }),
            Err(_) => {
                problems
                    .add("client", "cannot be made on this machine: its root certificates cannot be read");
                Err(problems.into_errors())
            }
        }
    }
}

/// Makes requests on one caller's behalf.
#[derive(Clone, Debug)]
pub struct Calls {
    service: EgressService<ReqwestTransport>,
    subject: Option<OnBehalfOf>,
}

impl Calls {
    /// A `GET`.
    pub fn get(&self, url: &str) -> RequestBuilder {
        self.request(Method::GET, url)
    }

    /// A `POST`.
    pub fn post(&self, url: &str) -> RequestBuilder {
        self.request(Method::POST, url)
    }

    /// A `PUT`.
    pub fn put(&self, url: &str) -> RequestBuilder {
        self.request(Method::PUT, url)
    }

    /// A `PATCH`.
    pub fn patch(&self, url: &str) -> RequestBuilder {
        self.request(Method::PATCH, url)
    }

    /// A `DELETE`.
    pub fn delete(&self, url: &str) -> RequestBuilder {
        self.request(Method::DELETE, url)
    }

    /// A `HEAD`.
    pub fn head(&self, url: &str) -> RequestBuilder {
        self.request(Method::HEAD, url)
    }

    /// A request with any method.
    pub fn request(&self, method: Method, url: &str) -> RequestBuilder {
        RequestBuilder::new(self.service.clone(), self.subject.clone(), method, url)
    }
}
