//! Object stores for tests, each a process of its own: S3 as `moto` plays it, Azure
//! as `azurite` does.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::packages::{cache, python_with};

/// A server that ends with the test.
pub struct Service {
    child: Child,
    /// Where it is: `http://127.0.0.1:43210`.
    pub endpoint: String,
    /// What clients need of the environment, secrets among it.
    pub environment: Vec<(&'static str, String)>,
    /// A Python that has `deltalake`.
    pub python: PathBuf,
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The secret that clients of the S3 have.
pub const S3_SECRET: &str = "s3-secret-5b1e";

/// The key of azurite's only account; it is in its manual.
pub const AZURE_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// Serves S3; told to be deaf, it overwrites where it should not, as some do.
const MOTO: &str = "
import sys
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple
import logging; logging.getLogger('werkzeug').setLevel(logging.ERROR)
app = DomainDispatcherApplication(create_backend_app)
deaf = sys.argv[2] == 'deaf'
def serve(environ, start):
    if deaf: environ.pop('HTTP_IF_NONE_MATCH', None)
    return app(environ, start)
run_simple('127.0.0.1', int(sys.argv[1]), serve, threaded=True)
";

const BUCKET: &str = "
import boto3, sys
s3 = boto3.client('s3', endpoint_url=sys.argv[1], region_name='us-east-1',
                  aws_access_key_id='key', aws_secret_access_key=sys.argv[2])
s3.create_bucket(Bucket='lake')
";

const CONTAINER: &str = "
import sys
from azure.storage.blob import BlobServiceClient
BlobServiceClient(account_url=sys.argv[1], credential=sys.argv[2]).create_container('lake')
";

/// Begins an S3 with a bucket `lake`; `None` where it cannot be had, which is said.
pub fn s3() -> Option<Service> {
    moto("")
}

/// The same, but it overwrites objects although it is told not to.
pub fn deaf_s3() -> Option<Service> {
    moto("deaf")
}

fn moto(how: &str) -> Option<Service> {
    let packages = ["moto[server]==5.*", "deltalake==1.*", "pyarrow"];
    let python = python_with("moto", &packages, "moto.server, boto3, deltalake, pyarrow")?;
    let port = free_port();
    let child = Command::new(&python)
        .args(["-c", MOTO, &port.to_string(), how])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let endpoint = format!("http://127.0.0.1:{port}");
    let service = Service {
        child,
        environment: vec![
            ("AWS_ACCESS_KEY_ID", "key".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", S3_SECRET.to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
        ],
        python,
        endpoint,
    };
    wait_for(port);
    ran(&service.python, &[BUCKET, &service.endpoint, S3_SECRET]);
    Some(service)
}

/// Begins an Azure with a container `lake`; `None` where it cannot be had, which is
/// said.
pub fn azure() -> Option<Service> {
    let packages = ["azure-storage-blob", "deltalake==1.*", "pyarrow"];
    let python = python_with("azure", &packages, "azure.storage.blob, deltalake, pyarrow")?;
    let azurite = azurite()?;
    let port = free_port();
    let child = Command::new("node")
        .arg(azurite)
        .args(["--blobHost", "127.0.0.1", "--blobPort", &port.to_string()])
        .args([
            "--disableTelemetry",
            "--skipApiVersionCheck",
            "--inMemoryPersistence",
        ])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let account = "devstoreaccount1";
    let endpoint = format!("http://127.0.0.1:{port}/{account}");
    let service = Service {
        child,
        environment: vec![
            ("AZURE_STORAGE_ACCOUNT_NAME", account.to_owned()),
            ("AZURE_STORAGE_ACCOUNT_KEY", AZURE_KEY.to_owned()),
        ],
        python,
        endpoint,
    };
    wait_for(port);
    ran(&service.python, &[CONTAINER, &service.endpoint, AZURE_KEY]);
    Some(service)
}

/// Returns the script of azurite's blob service, from the registry the first time.
fn azurite() -> Option<PathBuf> {
    let folder = cache()?.join("azurite");
    let lock = std::fs::File::create(folder.with_extension("lock")).ok()?;
    lock.lock().ok()?;
    let script = folder.join("node_modules/azurite/dist/src/blob/main.js");
    if !script.exists() {
        let installed = Command::new("npm")
            .args(["install", "--silent", "--no-audit", "--no-fund", "--prefix"])
            .arg(&folder)
            .arg("azurite@3")
            .output();
        if !installed.is_ok_and(|output| output.status.success()) || !script.exists() {
            eprintln!("skipped: azurite cannot be had here (it needs node and npm)");
            return None;
        }
    }
    Some(script)
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Waits until somebody listens.
fn wait_for(port: u16) {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let began = Instant::now();
    while TcpStream::connect(address).is_err() {
        assert!(began.elapsed() < Duration::from_secs(60), "nobody listens");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[track_caller]
fn ran(python: &Path, script: &[&str]) {
    let output = Command::new(python)
        .arg("-c")
        .args(script)
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
}
