//! The simulator as tests hold it.

use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use jiff::civil::Date;

use super::answer;
use super::auth::Accounts;
use super::builder::Builder;
use super::data::Data;
use super::engage::{Paging, Sessions};
use super::engage_query::EngageQuery;
use super::export::Cache;
use super::export_query::ExportQuery;
use super::fault::Fault;
use super::http::{Connection, Framing};
use super::injector::Injector;
use super::limits::Gate;
use super::log::{Endpoint, Log, LoggedRequest};
use super::stop::Stop;

/// What does not change while the simulator runs.
#[derive(Debug)]
pub(super) struct Config {
    pub(super) accounts: Accounts,
    pub(super) project_id: Option<String>,
    pub(super) today: Option<Date>,
    pub(super) latency: Duration,
    pub(super) framing: Framing,
    pub(super) gzip_level: u32,
    pub(super) paging: Paging,
}

/// What the threads share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: Config,
    pub(super) data: RwLock<Arc<Data>>,
    pub(super) cache: Cache,
    pub(super) sessions: Sessions,
    pub(super) injector: Injector,
    pub(super) log: Log,
    pub(super) all: Arc<Gate>,
    pub(super) export: Arc<Gate>,
    pub(super) engage: Arc<Gate>,
    pub(super) other: Arc<Gate>,
    pub(super) answers: AtomicUsize,
    pub(super) stop: Stop,
}

impl Shared {
    pub(super) fn data(&self) -> Arc<Data> {
        Arc::clone(&self.data.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn gate(&self, endpoint: Endpoint) -> &Arc<Gate> {
        match endpoint {
            Endpoint::Export => &self.export,
            Endpoint::Engage => &self.engage,
            Endpoint::Other => &self.other,
        }
    }
}

type Connections = Mutex<Vec<(TcpStream, JoinHandle<()>)>>;

/// A running simulator on a port of the loopback interface.
///
/// Dropping it closes all connections, ends every wait and joins its threads.
#[derive(Debug)]
pub struct Simulator {
    shared: Arc<Shared>,
    connections: Arc<Connections>,
    accepting: Option<JoinHandle<()>>,
    address: SocketAddr,
    base_url: String,
}

impl Simulator {
    /// Returns a builder for a simulator without data, credentials and limits.
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(super) fn start(shared: Shared, port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(shared);
        let connections = Arc::<Connections>::default();
        let thread = (Arc::clone(&shared), Arc::clone(&connections));
        let accepting = std::thread::Builder::new()
            .name("sim-accept".to_owned())
            .spawn(move || accept(&listener, &thread.0, &thread.1))?;
        Ok(Self {
            shared,
            connections,
            accepting: Some(accepting),
            address,
            base_url: format!("http://{address}"),
        })
    }

    /// Returns `http://127.0.0.1:PORT`, the value for `base_url`.
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// Returns the address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the requests so far, in the order of their answers.
    pub fn requests(&self) -> Vec<LoggedRequest> {
        self.shared.log.entries()
    }

    /// Returns the requests to one endpoint.
    pub fn requests_to(&self, endpoint: Endpoint) -> Vec<LoggedRequest> {
        let mut requests = self.requests();
        requests.retain(|request| request.endpoint == endpoint);
        requests
    }

    /// Forgets the requests so far.
    pub fn clear_log(&self) {
        self.shared.log.clear();
    }

    /// Adds a fault behind the others.
    pub fn add_fault(&self, fault: Fault) {
        self.shared.injector.add(fault);
    }

    /// Removes all faults.
    pub fn clear_faults(&self) {
        self.shared.injector.clear();
    }

    /// Makes every engage session unknown.
    pub fn expire_sessions(&self) {
        self.shared.sessions.clear();
    }

    /// Returns the largest number of requests that were answered at once.
    pub fn peak_concurrency(&self) -> usize {
        self.shared.all.peak()
    }

    /// Returns the largest number of requests to one endpoint at once.
    pub fn peak_concurrency_of(&self, endpoint: Endpoint) -> usize {
        self.shared.gate(endpoint).peak()
    }

    /// Returns the data as it is now.
    pub fn data(&self) -> Arc<Data> {
        self.shared.data()
    }

    /// Replaces the data. Engage sessions keep the profiles they began with.
    pub fn set_data(&self, data: Data) {
        let mut current = self
            .shared
            .data
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *current = Arc::new(data);
        self.shared.cache.clear();
    }

    /// Makes and caches the gzip answer for these days, so that a benchmark
    /// measures the client. Blocks until it is made.
    pub fn warm_export(&self, from: Date, to: Date) {
        let query = ExportQuery::new(from, to);
        let level = Some(self.shared.config.gzip_level);
        // A window that cannot be answered needs no warmth.
        let _ = self.shared.cache.answer(&self.data(), &query, level);
    }

    /// Returns the lines that answer a query, in the order they are sent.
    ///
    /// # Panics
    ///
    /// If the query is one that the server answers with 400.
    pub fn expected_events(&self, query: &ExportQuery) -> Vec<Vec<u8>> {
        let data = self.data();
        let lines = query.select(&data).expect("the query is a valid one");
        lines.into_iter().map(|line| line.into_owned()).collect()
    }

    /// Returns the profiles that answer a query, in the order of the pages.
    ///
    /// # Panics
    ///
    /// If the query is one that the server answers with 400.
    pub fn expected_profiles(&self, query: &EngageQuery) -> Vec<Vec<u8>> {
        let without_profile = self.shared.config.paging.without_profile;
        let profiles = query.select(&self.data(), without_profile);
        let profiles = profiles.expect("the query is a valid one");
        profiles.iter().map(|profile| profile.to_vec()).collect()
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.shared.stop.stop();
        // A connection wakes the thread that accepts them.
        let woken = TcpStream::connect(self.address).is_ok();
        if let Some(accepting) = self.accepting.take()
            && woken
        {
            let _ = accepting.join();
        }
        let mut connections = self
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for (stream, thread) in connections.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
            let _ = thread.join();
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>, connections: &Connections) {
    for stream in listener.incoming() {
        if shared.stop.is_stopped() {
            return;
        }
        // Errors here concern one connection, which the client sees break.
        let Ok(stream) = stream else { continue };
        let _ = serve_in_thread(stream, shared, connections);
    }
}

fn serve_in_thread(
    stream: TcpStream,
    shared: &Arc<Shared>,
    connections: &Connections,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let kept = stream.try_clone()?;
    let shared = Arc::clone(shared);
    let serve = move || {
        let closing = stream.try_clone();
        answer::serve(&shared, Connection::new(stream));
        // The copy kept for `drop` would hold the connection open.
        if let Ok(stream) = closing {
            let _ = stream.shutdown(Shutdown::Both);
        }
    };
    let thread = std::thread::Builder::new()
        .name("sim-connection".to_owned())
        .spawn(serve)?;
    let mut connections = connections.lock().unwrap_or_else(PoisonError::into_inner);
    connections.retain(|(_, thread)| !thread.is_finished());
    connections.push((kept, thread));
    Ok(())
}
