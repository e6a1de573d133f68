//! A client's connection, below HTTP: ends it when a head of HTTP/1.1 does not come, and gives a body to the answers that
//! the library makes before any of our code sees a request.
//!
//! The library has a time limit for the first head of a connection only. Whether a head is waited for is told by [`Exchange`],
//! which requests report to; of HTTP/2 nothing is asked here, since the library pings its clients.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use actix_http::Protocol;
use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep_until};

use super::problem::{Kind, PROBLEM_JSON, Problem};

/// How long a connection may keep us waiting.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// For the head of a request.
    pub head: Duration,
    /// Between requests.
    pub idle: Duration,
}

/// What is waited for on a connection.
#[derive(Debug)]
pub struct Exchange {
    times: Times,
    stage: Cell<Stage>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// A head, until then.
    Head(Instant),
    /// The next request; nothing of it has come, as far as is known. Until then.
    Idle(Instant),
    /// A request is worked on.
    Request,
}

/// See the module.
pub struct Transport<T> {
    io: T,
    /// `None`: HTTP/2.
    exchange: Option<Rc<Exchange>>,
    look: Pin<Box<Sleep>>,
    /// An answer that is sent in place of one without a body.
    words: Bytes,
}

// === impl Exchange ===

impl Exchange {
    fn new(now: Instant, times: Times) -> Self {
        Self { times, stage: Cell::new(Stage::Head(now + times.head)) }
    }

    /// A request is worked on from now on.
    pub fn begin(&self) {
        self.stage.set(Stage::Request);
    }

    /// Its answer is there. The library ends connections that are idle; what of the next head was there already it does
    /// not count as that.
    pub fn end(&self, now: Instant) {
        self.stage.set(Stage::Idle(now + self.times.idle + self.times.head));
    }

    fn is_idle(&self) -> bool {
        matches!(self.stage.get(), Stage::Idle(_))
    }

    /// Something of the next head is there.
    fn on_bytes(&self, now: Instant) {
        if self.is_idle() {
            self.stage.set(Stage::Head(now + self.times.head));
        }
    }

    /// When it is to be looked at again; `None`: what is waited for is too late.
    fn next_look(&self, now: Instant) -> Option<Instant> {
        let soon = now + self.times.head;
        match self.stage.get() {
            Stage::Request => Some(soon),
            Stage::Head(until) | Stage::Idle(until) if now < until => Some(soon.min(until)),
            Stage::Head(_) | Stage::Idle(_) => None,
        }
    }
}

// === impl Transport ===

impl<T> Transport<T> {
    /// A connection that begins now.
    pub fn new(io: T, protocol: Protocol, times: Times) -> Self {
        let now = Instant::now();
        let exchange = (protocol == Protocol::Http1).then(|| Rc::new(Exchange::new(now, times)));
        Self { io, exchange, look: Box::pin(sleep_until((now + times.head).into())), words: Bytes::new() }
    }

    /// For its requests to report to.
    pub fn exchange(&self) -> Option<Rc<Exchange>> {
        self.exchange.clone()
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for Transport<T> {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let read = Pin::new(&mut this.io).poll_read(context, buffer);
        let Some(exchange) = &this.exchange else { return read };
        if read.is_ready() {
            // The clock is not read for each piece of a body.
            if exchange.is_idle() {
                exchange.on_bytes(Instant::now());
            }
            return read;
        }
        ready!(this.look.as_mut().poll(context));
        while let Some(look) = exchange.next_look(Instant::now()) {
            this.look.as_mut().reset(look.into());
            ready!(this.look.as_mut().poll(context));
        }
        if matches!(exchange.stage.get(), Stage::Head(_)) {
            let words = answer(&Problem::new(Kind::HeadTooSlow, "the connection kept the server waiting for too long"));
            // A socket to which nothing was sent has room; if not, its end says enough.
            if Pin::new(&mut this.io).poll_write(context, &words).is_ready() {
                let _ = Pin::new(&mut this.io).poll_flush(context);
            }
        }
        // The end of what the client sends, as far as the library is concerned.
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Transport<T> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.words.is_empty() {
            match this.exchange.as_ref().and_then(|_| wordless(bytes)) {
                Some(problem) => this.words = answer(&problem),
                None => return Pin::new(&mut this.io).poll_write(context, bytes),
            }
        }
        while !this.words.is_empty() {
            match ready!(Pin::new(&mut this.io).poll_write(context, &this.words))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                count => this.words.advance(count),
            }
        }
        Poll::Ready(Ok(bytes.len()))
    }

    /// Only for HTTP/2; of HTTP/1.1 the library writes one buffer at a time.
    fn is_write_vectored(&self) -> bool {
        self.exchange.is_none() && self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write_vectored(context, buffers)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(context)
    }
}

/// What is wrong, if this is one of the library's answers to what is no request; all of ours have a body.
fn wordless(answer: &[u8]) -> Option<Problem> {
    let head = answer.strip_prefix(b"HTTP/1.1 4")?.strip_suffix(b"\r\n\r\n")?;
    head.windows(LENGTH_0.len()).any(|line| line == LENGTH_0).then_some(())?;
    match head.get(..2)? {
        b"00" => Some(Problem::new(Kind::BrokenRequest, "it does not follow RFC 9112")),
        b"31" => Some(Problem::new(Kind::HeadTooLarge, "it has too many headers, or too long ones")),
        _ => None,
    }
}

/// A line of a head.
const LENGTH_0: &[u8] = b"\r\ncontent-length: 0\r\n";

/// A whole answer, the last on its connection.
fn answer(problem: &Problem) -> Bytes {
    let (status, body) = (problem.status(), problem.body(None));
    let reason = status.canonical_reason().unwrap_or_default();
    let len = body.len();
    let head = format!("HTTP/1.1 {} {reason}\r\ncontent-length: {len}\r\nconnection: close\r\n", status.as_u16());
    format!("{head}content-type: {PROBLEM_JSON}\r\n\r\n{body}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const TIMES: Times = Times { head: Duration::from_secs(5), idle: Duration::from_secs(75) };

    #[test]
    fn test_only_a_head_that_has_begun_is_waited_for_with_little_patience() {
        let start = Instant::now();
        let exchange = Exchange::new(start, TIMES);
        assert_eq!(exchange.next_look(start + 4 * SECOND), Some(start + 5 * SECOND));
        exchange.on_bytes(start + 4 * SECOND);
        assert_eq!(exchange.next_look(start + 5 * SECOND), None, "a byte is no head");
        exchange.begin();
        exchange.on_bytes(start + 5 * SECOND);
        assert_eq!(exchange.next_look(start + 500 * SECOND), Some(start + 505 * SECOND), "we are not waiting");
        exchange.end(start + 500 * SECOND);
        assert_eq!(exchange.next_look(start + 574 * SECOND), Some(start + 579 * SECOND));
        assert_eq!(exchange.next_look(start + 580 * SECOND), None);
        exchange.on_bytes(start + 560 * SECOND);
        exchange.on_bytes(start + 564 * SECOND);
        assert_eq!(exchange.next_look(start + 565 * SECOND), None);
    }

    #[test]
    fn test_only_the_librarys_own_answers_get_other_words() {
        let wordless = |text: &str| wordless(text.as_bytes()).map(|problem| problem.status().as_u16());
        let head =
            |status: &str, len: u8| format!("HTTP/1.1 {status}\r\ncontent-length: {len}\r\nconnection: close\r\n\r\n");
        assert_eq!(wordless(&head("400 Bad Request", 0)), Some(400));
        assert_eq!(wordless(&head("431 Request Header Fields Too Large", 0)), Some(431));
        assert_eq!(wordless(&head("400 Bad Request", 9)), None, "an answer to HEAD");
        assert_eq!(wordless(&head("404 Not Found", 0)), None);
        assert_eq!(wordless(&head("200 OK", 0)), None);
        assert_eq!(wordless(&format!("{}{{}}", head("400 Bad Request", 2))), None);
    }
}
