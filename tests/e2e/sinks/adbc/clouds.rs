//! The drivers of databases that are a service: they are loaded, and what they say
//! of wrong credentials is understood. Nothing of them leaves this machine.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use jiff::civil::date;
use mixflow_tests::sim::{Data, Simulator};

use super::server::manifests;
use crate::packages::python_with;
use crate::support::{Place, Ran, SECRET, events, pipeline, sim, started};

/// What a Snowflake says to a wrong password.
const WRONG: &str = r#"{"data":{"nextAction":"RETRY_LOGIN"},"code":"390100","message":"Incorrect username or password was specified.","success":false}"#;

/// A Flight SQL server that lets nobody in.
const FLIGHT: &str = "
import pyarrow.flight as flight
class Nobody(flight.ServerMiddlewareFactory):
    def start_call(self, info, headers):
        raise flight.FlightUnauthenticatedError('invalid user or password')
server = flight.FlightServerBase('grpc://127.0.0.1:0', middleware={'nobody': Nobody()})
print(server.port, flush=True)
server.serve()
";

/// A place with a driver, and a pipeline into its database.
struct Cloud {
    place: Place,
    drivers: std::path::PathBuf,
    sim: Simulator,
}

impl Cloud {
    fn with(driver: &str, options: &str) -> Option<Cloud> {
        let place = Place::new();
        let drivers = manifests(&place, driver)?;
        let data = Data::generated_between(date(2024, 1, 1), date(2024, 1, 1), 10, 0, 1);
        let sim = started(sim(data));
        let days = events(&sim, "from = \"2024-01-01\"\nto = \"2024-01-01\"\n");
        let sink = format!("[sink]\ntype = \"adbc\"\ndriver = \"{driver}\"\n{options}\n");
        place.write("test.toml", &pipeline(&[&days, &sink]));
        Some(Cloud {
            place,
            drivers,
            sim,
        })
    }

    fn command(&self, uri: &str) -> Command {
        let mut command = self.place.command(&["run", "test.toml"]);
        command
            .env("ADBC_DRIVER_PATH", &self.drivers)
            .env("DATABASE_URL", uri);
        command
    }

    fn run(&self, uri: &str) -> Ran {
        let ran = Ran::of(self.command(uri).output().unwrap());
        assert_eq!(self.sim.requests().len(), 0, "{}", ran.stderr);
        ran
    }
}

const URI: &str = "uri = { env = \"DATABASE_URL\" }";

/// Answers every request so; nothing at all if there is no answer. Returns the port.
fn server(answer: Option<(u16, &'static str)>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut open = Vec::new();
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            match answer {
                Some((status, body)) => drop(reply(stream, status, body)),
                None => open.push(stream),
            }
        }
    });
    port
}

fn reply(mut stream: TcpStream, status: u16, body: &str) -> std::io::Result<()> {
    let mut request = BufReader::new(stream.try_clone()?);
    let mut length = 0;
    loop {
        let mut line = String::new();
        request.read_line(&mut line)?;
        let (name, value) = line.split_once(':').unwrap_or_default();
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().unwrap_or(0);
        }
        if line.trim().is_empty() {
            break;
        }
    }
    request.read_exact(&mut vec![0; length])?;
    let n = body.len();
    write!(
        stream,
        "HTTP/1.1 {status} x\r\nContent-Type: application/json\r\nContent-Length: {n}\r\nConnection: close\r\n\r\n{body}"
    )
}

fn snowflake(port: u16) -> String {
    format!("ann:{SECRET}@127.0.0.1:{port}/db/public?protocol=http&account=acme")
}

#[test]
fn snowflake_refuses_a_wrong_password() {
    let Some(cloud) = Cloud::with("snowflake", URI) else {
        return;
    };
    cloud
        .run(&snowflake(server(Some((200, WRONG)))))
        .ended(4)
        .says("with the driver `snowflake`")
        .says("snowflake://127.0.0.1:")
        .says("Incorrect username or password was specified")
        .says("check user, password or key");
    cloud
        .run(&snowflake(server(Some((403, "{}")))))
        .ended(4)
        .says("HTTP: 403");
    // The port of nobody, which it would ask for five minutes.
    cloud
        .run(&(snowflake(9) + "&loginTimeout=1"))
        .ended(6)
        .says("connection refused")
        .says("check that the database is up");
}

/// The driver waits five minutes, and knows nothing of signals.
#[test]
fn a_driver_that_waits_is_interrupted() {
    let Some(cloud) = Cloud::with("snowflake", URI) else {
        return;
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut command = cloud.command(&snowflake(port));
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let asked = listener.accept().unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    Ran::of(child.wait_with_output().unwrap()).ended(130);
    drop(asked);
}

#[test]
fn bigquery_refuses_a_key_that_is_none() {
    let options = "[sink.options]\n\
        \"adbc.bigquery.sql.project_id\" = \"p\"\n\
        \"adbc.bigquery.sql.dataset_id\" = \"d\"\n\
        \"adbc.bigquery.sql.auth_type\" = \"adbc.bigquery.sql.auth_type.json_credential_file\"\n\
        \"adbc.bigquery.sql.auth_credentials\" = \"key.json\"\n";
    let Some(cloud) = Cloud::with("bigquery", options) else {
        return;
    };
    let port = server(Some((400, r#"{"error":"invalid_grant"}"#)));
    let key = format!(
        r#"{{"type":"service_account","project_id":"p","private_key":"{SECRET}","client_email":"a@b","token_uri":"http://127.0.0.1:{port}/token"}}"#
    );
    cloud.place.write("key.json", &key);
    cloud
        .run("")
        .ended(4)
        .says("cannot connect to `bigquery (by its options)` with the driver `bigquery`")
        .says("could not parse key")
        .says("check user, password or key");
    cloud.place.write("key.json", "{}");
    cloud.run("").ended(4);
}

/// Ends with the test.
struct Flight(Child, String);

impl Drop for Flight {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn flight() -> Option<Flight> {
    let python = python_with("arrow", &["pyarrow"], "pyarrow.flight")?;
    let mut child = Command::new(python)
        .args(["-c", FLIGHT])
        .stdout(Stdio::piped())
        .spawn()
        .ok()?;
    let mut port = String::new();
    BufReader::new(child.stdout.take()?)
        .read_line(&mut port)
        .ok()?;
    Some(Flight(child, port.trim().to_owned()))
}

#[test]
fn flight_sql_refuses_a_wrong_password() {
    let options =
        format!("{URI}\noptions = {{ username = \"ann\", password = {{ env = \"SIM_SECRET\" }} }}");
    let Some(cloud) = Cloud::with("flightsql", &options) else {
        return;
    };
    cloud
        .run("grpc://127.0.0.1:9")
        .ended(6)
        .says("cannot connect to `grpc://127.0.0.1:9` with the driver `flightsql`")
        .says("connection refused");
    let Some(server) = flight() else { return };
    cloud
        .run(&format!("grpc://127.0.0.1:{}", server.1))
        .ended(4)
        .says("invalid user or password")
        .says("check user, password or key");
}
