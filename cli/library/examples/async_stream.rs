//! mixflow in an async program: a fetch, and a stream of events.
//!
//! ```sh
//! MIXPANEL_PROJECT_ID=12345 MIXPANEL_USERNAME=svc MIXPANEL_SECRET=… \
//!     cargo run -p mixflow --example async_stream -- 2024-01-01 2024-01-02
//! ```
//!
//! mixflow's calls block: `spawn_blocking` gives them a thread. What they
//! stream goes through a bounded channel, so a reader who is slow slows the
//! run, and one who goes away ends it.

use std::sync::Arc;

use futures_util::{Stream, StreamExt as _, stream};
use mixflow::{Error, ErrorKind, Event, Events, Result, Workspace};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

/// Events that may wait for the reader.
const QUEUE: usize = 1_000;

fn main() -> std::process::ExitCode {
    let runtime = tokio::runtime::Runtime::new();
    match runtime
        .map_err(no_thread)
        .and_then(|runtime| runtime.block_on(run()))
    {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            log(&error.in_a_line());
            std::process::ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<()> {
    let mut days = std::env::args().skip(1);
    let days = match (days.next(), days.next()) {
        (Some(first), Some(last)) => Events::between(first, last),
        _ => Events::between("yesterday", "yesterday"),
    };
    let workspace = Arc::new(workspace()?);

    // A fetch is one call.
    let (asking, request) = (Arc::clone(&workspace), days.clone());
    let fetched = spawn_blocking(move || asking.fetch_events(&request));
    let fetched = fetched.await.map_err(no_thread)??;
    log(&format!("fetched {} rows", fetched.row_count));

    // A stream is one that other async code understands.
    let mut events = events(Arc::clone(&workspace), days);
    let (mut streamed, mut first) = (0, None);
    while let Some(event) = events.next().await {
        let event = event?;
        streamed += 1;
        first.get_or_insert(event.event_name);
    }
    log(&format!(
        "streamed {streamed} events, the first a {first:?}"
    ));

    drop(events);
    // The thread of the stream may still hold its clone for a moment; what
    // closes the store is the last one.
    match Arc::try_unwrap(workspace) {
        Ok(workspace) => workspace.close(),
        Err(_) => Ok(()),
    }
}

/// Streams events to async code.
fn events(workspace: Arc<Workspace>, request: Events) -> impl Stream<Item = Result<Event>> + Unpin {
    let (sender, mut receiver) = mpsc::channel(QUEUE);
    spawn_blocking(move || {
        let stream = match workspace.stream_events(&request) {
            Ok(stream) => stream,
            // Such as wrong credentials.
            Err(error) => {
                let _ = sender.blocking_send(Err(error));
                return;
            }
        };
        for event in stream {
            if sender.blocking_send(event).is_err() {
                return;
            }
        }
    });
    stream::poll_fn(move |cx| receiver.poll_recv(cx))
}

fn workspace() -> Result<Workspace> {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let builder = Workspace::builder()
        .project_id(variable("MIXPANEL_PROJECT_ID"))
        .service_account(variable("MIXPANEL_USERNAME"), variable("MIXPANEL_SECRET"))
        .ephemeral();
    match std::env::var("MIXPANEL_BASE_URL") {
        Ok(url) => builder.base_url(url).build(),
        Err(_) => builder.build(),
    }
}

fn no_thread(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Other, "cannot start a thread").with_source(error)
}

#[expect(clippy::print_stdout, reason = "a program may print")]
fn log(line: &str) {
    println!("{line}");
}
