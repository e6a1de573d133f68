//! What carries a connection's bytes: a plain socket, or TLS on one.
//!
//! TLS is driven by hand over the socket's readiness, as the plain way is, so that both are shared by a reading and a
//! writing future, and hold no buffers of ours while nothing happens.

use std::cell::RefCell;
use std::io::{self, BufRead, ErrorKind, Write};
use std::net::Shutdown;

use bytes::{Buf, BytesMut};
use rustls::ServerConnection;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::framed::FramedError;
use crate::tls::{NameIn, ServerTls};

/// Bytes asked of the socket at once.
const READ_CHUNK: usize = 64 * 1024;

thread_local! {
    /// Where the connections of a thread read to, in turn, so that each keeps no more than what is there for it.
    static ARRIVING: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_CHUNK].into_boxed_slice());
}

/// A connected socket.
#[derive(Debug)]
pub(super) struct Transport {
    socket: TcpStream,
    /// `None`: plain.
    session: Option<Box<TlsSession>>,
}

/// TLS on the socket.
#[derive(Debug)]
struct TlsSession {
    state: RefCell<ServerConnection>,
    /// Where the other side's certificate has the name of its holder; `None` if it is not asked for one.
    name_in: Option<NameIn>,
}

// === impl Transport ===

impl Transport {
    /// A transport on a connected socket; with TLS, the other side has to begin with a handshake.
    pub fn new(socket: TcpStream, tls: Option<&ServerTls>) -> Result<Self, rustls::Error> {
        let session = tls.map(TlsSession::new).transpose()?.map(Box::new);
        Ok(Self { socket, session })
    }

    /// Appends what arrives next, at least a byte. That TLS itself has something to say is told to `to_send`.
    pub async fn read(&self, buffer: &mut BytesMut, to_send: &Notify) -> Result<(), FramedError> {
        let num_before = buffer.len();
        while buffer.len() == num_before {
            self.socket.readable().await?;
            let taken = self.try_read(|bytes| match &self.session {
                None => {
                    buffer.extend_from_slice(bytes);
                    Ok(())
                }
                Some(session) => session.take_in(bytes, buffer, to_send),
            });
            match taken {
                Ok((0, _)) => return Err(FramedError::Closed),
                Ok((_, taken)) => taken?,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Takes up to so many bytes off the socket until the other side has closed it, and forgets them.
    pub async fn discard(&self, num_bytes: usize) -> io::Result<()> {
        let mut left = num_bytes;
        while left > 0 {
            self.socket.readable().await?;
            match self.try_read(|_| {}) {
                Ok((0, ())) => break,
                Ok((count, ())) => left = left.saturating_sub(count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// How many bytes were there, and what `take` made of them.
    fn try_read<T>(&self, take: impl FnOnce(&[u8]) -> T) -> io::Result<(usize, T)> {
        ARRIVING.with_borrow_mut(|arriving| {
            let count = self.socket.try_read(arriving)?;
            Ok((count, take(&arriving[..count])))
        })
    }

    /// Whether there is TLS on the socket.
    pub fn is_secure(&self) -> bool {
        self.session.is_some()
    }

    /// Whether TLS has something of its own to send.
    pub fn wants_write(&self) -> bool {
        self.session.as_ref().is_some_and(|session| session.state.borrow().wants_write())
    }

    /// Sends all of this, and what TLS has to send.
    pub async fn write_all(&self, sending: &mut BytesMut) -> io::Result<()> {
        loop {
            let is_blocked = match &self.session {
                None => write_plain(&self.socket, sending)?,
                Some(session) => session.write(&self.socket, sending)?,
            };
            if is_blocked {
                self.socket.writable().await?;
            } else if sending.is_empty() {
                return Ok(());
            }
        }
    }

    /// Lets TLS say that nothing more comes, which has to be sent as other things are.
    pub fn say_end(&self) {
        if let Some(session) = &self.session {
            session.state.borrow_mut().send_close_notify();
        }
    }

    /// Sends nothing more.
    pub fn shut_down(&self) -> io::Result<()> {
        SockRef::from(&self.socket).shutdown(Shutdown::Write)
    }

    /// Whether the certificate that the other side has presented is still one that is trusted.
    pub fn is_still_trusted(&self, tls: &ServerTls) -> bool {
        let Some(session) = self.session.as_ref() else { return false };
        session.state.borrow().peer_certificates().is_some_and(|certificates| tls.still_trusts(certificates))
    }

    /// Whether the other side has presented a certificate of this name; `None` if it has presented none. One that is not
    /// trusted has ended the handshake.
    pub fn has_certificate_of(&self, name: &str) -> Option<bool> {
        let session = self.session.as_ref()?;
        let state = session.state.borrow();
        let certificate = state.peer_certificates()?.first()?;
        session.name_in.map(|name_in| name_in.is_named(certificate, name))
    }
}

// === impl TlsSession ===

impl TlsSession {
    fn new(tls: &ServerTls) -> Result<Self, rustls::Error> {
        let (config, name_in) = tls.for_connection();
        Ok(Self { state: RefCell::new(ServerConnection::new(config)?), name_in })
    }

    /// Decrypts what has arrived into `buffer`.
    fn take_in(&self, mut arrived: &[u8], buffer: &mut BytesMut, to_send: &Notify) -> Result<(), FramedError> {
        let mut state = self.state.borrow_mut();
        while !arrived.is_empty() {
            state.read_tls(&mut arrived)?;
            let processed = state.process_new_packets();
            // Its part of the handshake, or the alert that says what is wrong.
            if state.wants_write() {
                to_send.notify_one();
            }
            let has_ended = processed?.peer_has_closed();
            take_decrypted(&mut state, buffer)?;
            if has_ended {
                return Err(FramedError::Closed);
            }
        }
        Ok(())
    }

    /// Sends what is possible; `true` if the socket takes no more for now.
    fn write(&self, socket: &TcpStream, sending: &mut BytesMut) -> io::Result<bool> {
        let mut state = self.state.borrow_mut();
        let taken = state.writer().write(sending)?;
        sending.advance(taken);
        if taken == 0 && !sending.is_empty() && !state.wants_write() {
            // It keeps some until the handshake is over; before that nothing long is to be said.
            return Err(ErrorKind::NotConnected.into());
        }
        while state.wants_write() {
            match state.write_tls(&mut Ready(socket)) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }
}

/// Sends what is possible; `true` if the socket takes no more for now.
fn write_plain(socket: &TcpStream, sending: &mut BytesMut) -> io::Result<bool> {
    while !sending.is_empty() {
        match socket.try_write(sending) {
            Ok(count) => sending.advance(count),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

/// Moves what TLS has decrypted.
fn take_decrypted(state: &mut ServerConnection, buffer: &mut BytesMut) -> io::Result<()> {
    let mut reader = state.reader();
    loop {
        match reader.fill_buf() {
            Ok([]) => return Ok(()),
            Ok(decrypted) => {
                buffer.extend_from_slice(decrypted);
                let count = decrypted.len();
                reader.consume(count);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

/// A socket as the library wants it: it takes what is possible at once.
struct Ready<'a>(&'a TcpStream);

impl Write for Ready<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn write_vectored(&mut self, records: &[io::IoSlice<'_>]) -> io::Result<usize> {
        self.0.try_write_vectored(records)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
