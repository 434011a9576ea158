//! Transports that know more of how a body ends than ureq does.
//!
//! The first is a time-out for pauses inside a body. ureq's own
//! `timeout_per_read` also cuts short the wait for the first byte, which for an
//! export may take ten minutes, while a pause of two minutes in the middle of
//! a body means that nothing more will come.
//!
//! The second is for bodies that have neither a length nor chunks. ureq takes
//! a reset, a TLS stream without its closing word, and our own shutdown of the
//! connection for their proper end.

use std::io;
use std::time::Duration;

use mixflow_core::cancel::CancelToken;
use ureq::unversioned::resolver::DefaultResolver;
use ureq::unversioned::transport::{
    Buffers, ConnectProxyConnector, ConnectionDetails, Connector, NextTimeout, RustlsConnector,
    TcpConnector, Transport,
};
use ureq::{Agent, Error, Timeout};

use super::retry::RetryOptions;

/// Returns an agent that follows no redirect, and whose bodies end only where
/// they really do.
pub(super) fn agent(retry: &RetryOptions, cancel: &CancelToken) -> Agent {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        // Another address would get neither the credentials nor, from a POST
        // that became a GET, the filters.
        .max_redirects(0)
        .user_agent(concat!("mixflow/", env!("CARGO_PKG_VERSION")))
        .timeout_connect(Some(retry.connect_timeout.0))
        .timeout_recv_response(Some(retry.first_byte_timeout.0))
        .timeout_send_request(Some(Duration::from_secs(60)))
        .timeout_send_body(Some(Duration::from_secs(60)))
        // Bodies are read in pieces of 64 KB.
        .input_buffer_size(256 << 10)
        .build();
    // ureq's default chain, with the idle time-out below TLS and the judge of
    // ends above it.
    let connector =
        ().chain(ConnectProxyConnector::default())
            .chain(TcpConnector::default())
            .chain(Ruled(IdleTimeout(retry.idle_timeout.0)))
            .chain(RustlsConnector::default())
            .chain(Ruled(ProperEnd(cancel.clone())));
    Agent::with_parts(config, connector, DefaultResolver::default())
}

/// What a transport that stands on another one does differently: how it waits
/// for input.
trait Rule: Clone + std::fmt::Debug + Send + Sync + 'static {
    fn await_input(&self, inner: &mut dyn Transport, timeout: NextTimeout) -> Result<bool, Error>;
}

/// Puts a rule on the transport below.
#[derive(Debug)]
struct Ruled<R>(R);

/// A transport with a rule.
#[derive(Debug)]
struct RuledTransport<T, R> {
    inner: T,
    rule: R,
}

impl<In: Transport, R: Rule> Connector<In> for Ruled<R> {
    type Out = RuledTransport<In, R>;

    fn connect(
        &self,
        _details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<RuledTransport<In, R>>, Error> {
        Ok(chained.map(|inner| RuledTransport {
            inner,
            rule: self.0.clone(),
        }))
    }
}

impl<T: Transport, R: Rule> Transport for RuledTransport<T, R> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.inner.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.inner.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.rule.await_input(&mut self.inner, timeout)
    }

    fn is_open(&mut self) -> bool {
        self.inner.is_open()
    }

    fn is_tls(&self) -> bool {
        self.inner.is_tls()
    }
}

/// No pause of a body may be longer.
#[derive(Clone, Debug)]
struct IdleTimeout(Duration);

impl Rule for IdleTimeout {
    fn await_input(
        &self,
        inner: &mut dyn Transport,
        mut timeout: NextTimeout,
    ) -> Result<bool, Error> {
        // Until the headers are there, the reason is the time-out for these.
        if timeout.reason != Timeout::RecvResponse {
            timeout.per_read = Some(self.0.into());
        }
        inner.await_input(timeout)
    }
}

/// Every end but a proper one is an error; stands above TLS. The run is
/// cancelled before its connections are shut down.
#[derive(Clone, Debug)]
struct ProperEnd(CancelToken);

impl Rule for ProperEnd {
    fn await_input(&self, inner: &mut dyn Transport, timeout: NextTimeout) -> Result<bool, Error> {
        match inner.await_input(timeout) {
            Ok(false) if self.0.is_cancelled() => {
                Err(Error::Io(io::Error::other("the run was cancelled")))
            }
            Err(Error::Io(error)) => Err(Error::Io(improper(error))),
            other => other,
        }
    }
}

/// Takes from an error the kind by which ureq would make an end of it.
fn improper(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::ConnectionReset => io::Error::other(error),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use mixflow_core::cancel::cancellation;
    use ureq::unversioned::transport::LazyBuffers;

    use super::*;

    const HEAD: &str = "HTTP/1.0 200 OK\r\n\r\n{\"event\":\"a\"}\n";

    /// A peer that answers at once and then ends in one way.
    #[derive(Debug)]
    struct Peer(Option<io::ErrorKind>);

    #[derive(Debug)]
    struct Scripted {
        buffers: LazyBuffers,
        answered: bool,
        end: Option<io::ErrorKind>,
    }

    impl Connector<()> for Peer {
        type Out = Scripted;

        fn connect(
            &self,
            _details: &ConnectionDetails<'_>,
            _chained: Option<()>,
        ) -> Result<Option<Scripted>, Error> {
            Ok(Some(Scripted {
                buffers: LazyBuffers::new(4096, 4096),
                answered: false,
                end: self.0,
            }))
        }
    }

    impl Transport for Scripted {
        fn buffers(&mut self) -> &mut dyn Buffers {
            &mut self.buffers
        }

        fn transmit_output(&mut self, _amount: usize, _timeout: NextTimeout) -> Result<(), Error> {
            Ok(())
        }

        fn await_input(&mut self, _timeout: NextTimeout) -> Result<bool, Error> {
            if !self.answered {
                self.answered = true;
                self.buffers.input_append_buf()[..HEAD.len()].copy_from_slice(HEAD.as_bytes());
                self.buffers.input_appended(HEAD.len());
                return Ok(true);
            }
            match self.end {
                Some(kind) => Err(Error::Io(kind.into())),
                None => Ok(false),
            }
        }

        fn is_open(&mut self) -> bool {
            true
        }
    }

    fn read(end: Option<io::ErrorKind>, cancel: &CancelToken) -> io::Result<usize> {
        let connector = Peer(end).chain(Ruled(ProperEnd(cancel.clone())));
        let config = Agent::config_builder().proxy(None).build();
        let agent = Agent::with_parts(config, connector, DefaultResolver::default());
        let response = agent.get("http://127.0.0.1/").call().expect("it answers");
        let mut reader = response.into_body().into_reader();
        reader.read_to_end(&mut Vec::new())
    }

    #[test]
    fn only_a_proper_end_ends_a_body_without_a_length() {
        let (guard, cancel) = cancellation();
        assert_eq!(read(None, &cancel).ok(), Some(14));
        // What rustls says when the peer has not said good-bye comes first.
        for kind in [
            io::ErrorKind::UnexpectedEof,
            io::ErrorKind::ConnectionReset,
            io::ErrorKind::ConnectionAborted,
            io::ErrorKind::BrokenPipe,
        ] {
            assert!(read(Some(kind), &cancel).is_err(), "{kind}");
        }
        // Our own shutdown looks like an end of the peer's.
        drop(guard);
        assert!(read(None, &cancel).is_err());
    }
}
