//! How long may the authorization server take at most? A transport has a limit of its own. One that never answers, as a
//! user's might, would keep its flights, and nobody could ask any more.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use hopguard_client::{BoxFuture, Timer, Transport, TransportError};
use hopguard_core::minutes;
use http::{Request, Response};

/// As long as the longest limit that a transport of ours can be given.
pub(crate) const PATIENCE: Duration = minutes(5);

/// A transport that gives up.
#[derive(Debug)]
pub(crate) struct Patient {
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) timer: Arc<dyn Timer>,
}

impl Transport for Patient {
    fn send(&self, request: Request<Bytes>) -> BoxFuture<'static, Result<Response<Bytes>, TransportError>> {
        let (answer, timer) = (self.transport.send(request), self.timer.clone());
        Box::pin(async move {
            let (mut answer, mut late) = (pin!(answer), None);
            poll_fn(|context| match answer.as_mut().poll(context) {
                outcome @ Poll::Ready(_) => outcome,
                Poll::Pending => {
                    let late = late.get_or_insert_with(|| timer.wait(PATIENCE));
                    late.as_mut().poll(context).map(|()| Err(TransportError::Timeout))
                }
            })
            .await
        })
    }
}
