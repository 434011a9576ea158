//! Output whose reader may have stopped to read.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt as _;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::cancel::CancelToken;

/// So much a pipe takes without blocking once it says that it has room.
const PIECE: usize = 4096;

/// How often it is looked whether the work is to stop.
const TICK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 50_000_000,
};

/// How long there may be no room once the work is to stop.
const GRACE: Duration = Duration::from_millis(300);

/// Writes as long as somebody reads; when the work is to stop and nobody does,
/// gives up with [`io::ErrorKind::TimedOut`].
#[derive(Debug)]
pub struct Patient {
    file: File,
    cancel: CancelToken,
    /// Files always have room, and want large pieces.
    may_block: bool,
    stopping_since: Option<Instant>,
}

impl Patient {
    /// Writes to what `out` writes to, without its buffer.
    pub fn new(out: &impl AsFd, cancel: CancelToken) -> io::Result<Patient> {
        let file = File::from(out.as_fd().try_clone_to_owned()?);
        let kind = file.metadata()?.file_type();
        Ok(Patient {
            may_block: kind.is_fifo() || kind.is_socket() || kind.is_char_device(),
            file,
            cancel,
            stopping_since: None,
        })
    }

    fn wait_for_room(&mut self) -> io::Result<()> {
        loop {
            match poll(&mut [PollFd::new(&self.file, PollFlags::OUT)], Some(&TICK)) {
                Ok(0) | Err(Errno::INTR) => {}
                // Also when nobody is there any more, which writing then tells.
                Ok(_) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
            if self.cancel.is_cancelled()
                && self
                    .stopping_since
                    .get_or_insert_with(Instant::now)
                    .elapsed()
                    >= GRACE
            {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
    }
}

impl Write for Patient {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.may_block {
            return self.file.write(bytes);
        }
        self.wait_for_room()?;
        self.file.write(&bytes[..bytes.len().min(PIECE)])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;
    use crate::cancel::cancellation;

    #[test]
    fn a_reader_gets_everything() {
        let (mut reader, writer) = io::pipe().expect("a pipe");
        let mut patient = Patient::new(&writer, CancelToken::never()).expect("a pipe");
        drop(writer);
        let bytes: Vec<u8> = (0..300_000_u32).map(|n| n as u8).collect();
        let sent = bytes.clone();
        let writing = std::thread::spawn(move || patient.write_all(&sent));
        let mut got = Vec::new();
        reader.read_to_end(&mut got).expect("it is read");
        writing.join().expect("no panic").expect("it is written");
        assert!(got == bytes);
    }

    #[test]
    fn a_pipe_that_nobody_reads_is_given_up_when_the_work_is_to_stop() {
        let (_reader, writer) = io::pipe().expect("a pipe");
        let (guard, token) = cancellation();
        let mut patient = Patient::new(&writer, token).expect("a pipe");
        let writing = std::thread::spawn(move || patient.write_all(&[0; 1 << 20]));
        drop(guard);
        let error = writing.join().expect("no panic").expect_err("it is full");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
