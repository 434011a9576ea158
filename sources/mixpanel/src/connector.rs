//! A time-out for pauses inside a body.
//!
//! ureq's own `timeout_per_read` also cuts short the wait for the first byte,
//! which for an export may take ten minutes, while a pause of two minutes in
//! the middle of a body means that nothing more will come.

use std::time::Duration;

use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, Transport};
use ureq::{Error, Timeout};

/// Puts an idle time-out on the transport below.
#[derive(Debug)]
pub(crate) struct IdleTimeout(pub(crate) Duration);

#[derive(Debug)]
pub(crate) struct Idle<T> {
    inner: T,
    limit: Duration,
}

impl<In: Transport> Connector<In> for IdleTimeout {
    type Out = Idle<In>;

    fn connect(
        &self,
        _details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Idle<In>>, Error> {
        Ok(chained.map(|inner| Idle {
            inner,
            limit: self.0,
        }))
    }
}

impl<T: Transport> Transport for Idle<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.inner.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, mut timeout: NextTimeout) -> Result<bool, Error> {
        // Until the headers are there, the reason is the time-out for these.
        if timeout.reason != Timeout::RecvResponse {
            timeout.per_read = Some(self.limit.into());
        }
        self.inner.await_input(timeout)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}
