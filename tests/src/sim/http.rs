//! HTTP/1.1 as far as a server needs it: requests in, answers out.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use super::fault::Unframed;
use super::params;
use super::stop::Stop;

const MAX_HEAD: usize = 256 * 1024;
const MAX_BODY: usize = 64 * 1024 * 1024;

/// How the length of a body is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// Chunked for gzip, `Content-Length` otherwise.
    #[default]
    Auto,
    /// Always `Content-Length`.
    ContentLength,
    /// Always `Transfer-Encoding: chunked`.
    Chunked,
    /// One after the other, from answer to answer.
    Alternating,
}

/// A request with its parameters decoded.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) method: String,
    /// The path with its query string, as sent.
    pub(super) target: String,
    pub(super) path: String,
    pub(super) query: Vec<(String, String)>,
    pub(super) form: Vec<(String, String)>,
    /// Why the body's parameters cannot be read, if that is so.
    pub(super) bad_body: Option<String>,
    pub(super) headers: Vec<(String, String)>,
    pub(super) keep_alive: bool,
}

impl Request {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }
}

/// An answer ready to be sent.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Arc<Vec<u8>>,
    pub(super) chunked: bool,
    /// Bytes of a part and the wait after it.
    pub(super) pace: Option<(usize, Duration)>,
    /// Where the connection is closed within the body.
    pub(super) cut: Option<usize>,
    /// Whether nothing but the end of the connection ends the body, and how.
    pub(super) unframed: Option<Unframed>,
}

/// A connection that keeps what it has read beyond a request.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    /// Reads the next request; `None` if the client has closed.
    pub(super) fn read_request(&mut self) -> io::Result<Option<Request>> {
        let head = loop {
            if let Some(head) = parse_head(&self.buffer)? {
                break head;
            }
            if self.buffer.len() > MAX_HEAD {
                return Err(invalid("the head of the request is too long"));
            }
            if !self.fill()? {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                };
            }
        };
        let Head {
            length,
            method,
            target,
            headers,
            version,
        } = head;
        self.buffer.drain(..length);
        let expects = header(&headers, "expect").is_some();
        if expects && self.buffer.is_empty() {
            self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let body = self.read_body(&headers)?;
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let connection = header(&headers, "connection").unwrap_or_default();
        let closes = connection.to_ascii_lowercase().contains("close");
        let kind = header(&headers, "content-type").unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        let form = match kind.to_ascii_lowercase().as_str() {
            "application/x-www-form-urlencoded" => {
                Ok(decode_pairs(&String::from_utf8_lossy(&body)))
            }
            "application/json" => params::of_json(&body),
            _ => Ok(Vec::new()),
        };
        let bad_body = form.as_ref().err().cloned();
        Ok(Some(Request {
            method,
            path: path.to_owned(),
            query: decode_pairs(query),
            form: form.unwrap_or_default(),
            bad_body,
            keep_alive: version == 1 && !closes,
            headers,
            target,
        }))
    }

    fn read_body(&mut self, headers: &[(String, String)]) -> io::Result<Vec<u8>> {
        if header(headers, "transfer-encoding").is_some() {
            return self.read_chunks();
        }
        let length = header(headers, "content-length").map_or(Ok(0), str::parse);
        let length = length.map_err(|_| invalid("`Content-Length` is not a number"))?;
        self.take(length)
    }

    fn read_chunks(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.take_line()?;
            let digits = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(digits, 16);
            let size = size.map_err(|_| invalid("the size of a chunk is not a number"))?;
            if body.len() + size.min(MAX_BODY) > MAX_BODY {
                return Err(invalid("the body of the request is too long"));
            }
            if size == 0 {
                while !self.take_line()?.is_empty() {}
                return Ok(body);
            }
            body.extend(self.take(size)?);
            self.take_line()?;
        }
    }

    fn take(&mut self, length: usize) -> io::Result<Vec<u8>> {
        if length > MAX_BODY {
            return Err(invalid("the body of the request is too long"));
        }
        while self.buffer.len() < length {
            if !self.fill()? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.buffer.drain(..length).collect())
    }

    fn take_line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.buffer) {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            if self.buffer.len() > MAX_HEAD || !self.fill()? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    fn fill(&mut self) -> io::Result<bool> {
        let mut part = [0; 16 * 1024];
        let read = self.stream.read(&mut part)?;
        self.buffer.extend_from_slice(&part[..read]);
        Ok(read > 0)
    }

    /// Sends an answer and tells whether the connection can go on.
    ///
    /// `done` is dropped before the last bytes leave, so that a client which
    /// has the whole answer is never counted as still waiting for it.
    pub(super) fn send<D>(&mut self, answer: &Answer, done: D, stop: &Stop) -> io::Result<bool> {
        let mut done = Some(done);
        let mut wire = head_of(answer);
        let body = answer.body.as_slice();
        let shown = &body[..answer.cut.unwrap_or(body.len())];
        let (size, pause) = answer.pace.unwrap_or((64 * 1024, Duration::ZERO));
        let mut pieces = shown.chunks(size.max(1)).peekable();
        loop {
            let piece = pieces.next().unwrap_or_default();
            let is_last = pieces.peek().is_none();
            if answer.chunked && !piece.is_empty() {
                wire.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
                wire.extend_from_slice(piece);
                wire.extend_from_slice(b"\r\n");
            } else {
                wire.extend_from_slice(piece);
            }
            if is_last {
                if answer.chunked && answer.cut.is_none() {
                    wire.extend_from_slice(b"0\r\n\r\n");
                }
                done.take();
            }
            self.stream.write_all(&wire)?;
            wire.clear();
            if is_last {
                self.end(answer.unframed, stop)?;
                return Ok(answer.cut.is_none() && answer.unframed.is_none());
            }
            if !pause.is_zero() && stop.wait(pause) {
                return Ok(false);
            }
        }
    }
}

impl Connection {
    /// Makes what follows a body that has no length.
    fn end(&mut self, unframed: Option<Unframed>, stop: &Stop) -> io::Result<()> {
        match unframed {
            // A copy of the socket is kept elsewhere, so closing would not do.
            Some(Unframed::Reset) => rustix::net::connect_unspec(&self.stream)?,
            Some(Unframed::Stall) => {
                stop.wait(Duration::from_secs(60));
            }
            _ => {}
        }
        Ok(())
    }
}

fn head_of(answer: &Answer) -> Vec<u8> {
    let status = answer.status;
    let version = match answer.unframed {
        Some(_) => "1.0",
        None => "1.1",
    };
    let mut head = format!("HTTP/{version} {status} {}\r\n", reason(status));
    for (name, value) in &answer.headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += &match (answer.unframed, answer.chunked) {
        (Some(_), _) => "Connection: close\r\n\r\n".to_owned(),
        (None, true) => "Transfer-Encoding: chunked\r\n\r\n".to_owned(),
        (None, false) => format!("Content-Length: {}\r\n\r\n", answer.body.len()),
    };
    head.into_bytes()
}

struct Head {
    length: usize,
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    version: u8,
}

fn parse_head(buffer: &[u8]) -> io::Result<Option<Head>> {
    let mut headers = [httparse::EMPTY_HEADER; 100];
    let mut request = httparse::Request::new(&mut headers);
    let parsed = request.parse(buffer).map_err(io::Error::other)?;
    let httparse::Status::Complete(length) = parsed else {
        return Ok(None);
    };
    let text = |value: Option<&str>| value.unwrap_or_default().to_owned();
    let pair = |header: &httparse::Header<'_>| {
        let value = String::from_utf8_lossy(header.value).into_owned();
        (header.name.to_owned(), value)
    };
    Ok(Some(Head {
        length,
        method: text(request.method),
        target: text(request.path),
        version: request.version.unwrap_or(0),
        headers: request.headers.iter().map(pair).collect(),
    }))
}

fn header<'h>(headers: &'h [(String, String)], name: &str) -> Option<&'h str> {
    let mut headers = headers.iter();
    let found = headers.find(|(key, _)| key.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.as_str())
}

fn invalid(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

fn decode_pairs(text: &str) -> Vec<(String, String)> {
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key), decode(value))
        })
        .collect()
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        rest = tail;
        let digits = tail.get(..2).and_then(|digits| str::from_utf8(digits).ok());
        match (first, digits.map(|digits| u8::from_str_radix(digits, 16))) {
            (b'+', _) => bytes.push(b' '),
            (b'%', Some(Ok(byte))) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            _ => bytes.push(first),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        429 => "Too Many Requests",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Status",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded() {
        let found = decode_pairs("a=1+2&b=%5B%22%C3%A9%22%5D&c&d=%zz%4");
        let expected = [("a", "1 2"), ("b", "[\"é\"]"), ("c", ""), ("d", "%zz%4")];
        let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(found, expected);
    }

    #[test]
    fn a_head_is_parsed_once_it_is_whole() {
        let head = b"GET /a?b=1 HTTP/1.1\r\nHost: x\r\n\r\nrest";
        assert!(parse_head(&head[..20]).unwrap().is_none());
        let head = parse_head(head).unwrap().unwrap();
        assert_eq!((head.length, head.version), (32, 1));
        assert_eq!(head.target, "/a?b=1");
        assert_eq!(header(&head.headers, "HOST"), Some("x"));
    }
}
