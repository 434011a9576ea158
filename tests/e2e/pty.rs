//! A terminal: what a person sees, and keys that they press.

use std::io::{Read as _, Write as _};
use std::num::NonZero;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pty_process::blocking::{Command as PtyCommand, Pty, open};
use vt100::Parser;

/// Generous: machines are noisy.
const LONG: Duration = Duration::from_secs(60);

/// Enough for what a test does, so that nothing scrolls away.
const ROWS: u16 = 200;

/// A command on a terminal of its own.
pub struct Terminal {
    pub child: Child,
    pty: Arc<Pty>,
    screen: Arc<Mutex<Parser>>,
    reader: Option<std::thread::JoinHandle<()>>,
}

fn size(n: u16) -> NonZero<u16> {
    NonZero::new(n).unwrap()
}

impl Terminal {
    /// Runs a command on a terminal of so many columns.
    pub fn of(command: &Command, columns: u16) -> Terminal {
        let (pty, pts) = open().unwrap();
        pty.resize(pty_process::Size::new(ROWS, columns)).unwrap();
        let envs = command.get_envs();
        let envs = envs.filter_map(|(name, value)| Some((name.to_owned(), value?.to_owned())));
        let child = PtyCommand::new(command.get_program())
            .args(command.get_args())
            .current_dir(command.get_current_dir().unwrap())
            .env_clear()
            .env("TERM", "xterm-256color")
            .env("NO_COLOR", "1")
            .envs(envs)
            .spawn(pts)
            .unwrap();
        let pty = Arc::new(pty);
        let screen = Arc::new(Mutex::new(Parser::new(size(ROWS), size(columns), 1_000)));
        let (from, to) = (Arc::clone(&pty), Arc::clone(&screen));
        let reader = std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // Fails when the last process that has the terminal is gone.
            while let Ok(n @ 1..) = (&*from).read(&mut bytes) {
                let mut screen = to.lock().unwrap();
                screen.process(&bytes[..n]);
                // Whoever asks where the cursor is waits for the answer.
                if bytes[..n].windows(4).any(|four| four == b"\x1b[6n") {
                    let (row, column) = screen.screen().cursor_position();
                    let answer = format!("\x1b[{};{}R", row + 1, column + 1);
                    (&*from).write_all(answer.as_bytes()).unwrap();
                }
            }
        });
        Terminal {
            child,
            pty,
            screen,
            reader: Some(reader),
        }
    }

    /// Presses keys: `\x03` is Ctrl-C, `\t` Tab, `\r` Enter.
    pub fn press(&self, keys: &str) {
        (&*self.pty).write_all(keys.as_bytes()).unwrap();
    }

    /// What stands on the screen now, without blanks at the ends of lines.
    pub fn shown(&self) -> String {
        let screen = self.screen.lock().unwrap();
        // Not its text, in which a line that fills the screen runs into the next.
        let (_, columns) = screen.screen().size();
        let rows = screen.screen().rows(0, columns.get());
        let rows: Vec<String> = rows.map(|row| row.trim_end().to_owned()).collect();
        rows.join("\n").trim_end().to_owned()
    }

    /// Waits until the screen is as it is to be, and returns how long that took.
    #[track_caller]
    pub fn until(&self, is_so: impl Fn(&str) -> bool) -> Duration {
        let asked = Instant::now();
        loop {
            let shown = self.shown();
            if is_so(&shown) {
                return asked.elapsed();
            }
            assert!(asked.elapsed() < LONG, "it never came:\n{shown}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    #[track_caller]
    pub fn until_shows(&self, text: &str) -> Duration {
        self.until(|shown| shown.contains(text))
    }

    /// Waits for the end, and returns the exit code and the last screen.
    #[track_caller]
    pub fn end(mut self) -> (Option<i32>, String) {
        let asked = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(asked.elapsed() < LONG, "it goes on:\n{}", self.shown());
            std::thread::sleep(Duration::from_millis(2));
        };
        self.reader.take().unwrap().join().unwrap();
        (status.code(), self.shown())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A test that failed leaves no process behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
