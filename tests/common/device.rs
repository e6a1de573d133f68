//! A device that speaks raw frames, and messages with known contents.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, LazyLock};

use bytes::{Bytes, BytesMut};
use surgetank::codec::Codecs;
use surgetank::protocol::device_id::DeviceId;
use surgetank::protocol::frame::{self, Frame, PackageFrame};
use surgetank::protocol::hello::{Credential, Hello, Refused, Welcome};
use surgetank::protocol::message::MessageHeader;
use surgetank::protocol::package::{Builder, PackageLimits};
use surgetank::protocol::receipt::{Outcome, Receipt};
use surgetank::schema::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::{in_time, now_ms};

/// The built-in layouts.
pub static CODECS: LazyLock<Arc<Codecs>> = LazyLock::new(|| Arc::new(Codecs::builtin().unwrap()));

/// A message: header and body.
pub type Message = (MessageHeader, Vec<u8>);

/// Frames of any size that a server may send.
const INBOX_LIMIT: usize = 1 << 20;

/// A connected device, by TCP or by TLS.
pub struct Device<S = TcpStream> {
    pub stream: S,
    pub welcome: Welcome,
    inbox: BytesMut,
    last_package_id: u32,
}

/// A `position` of version 1 whose odometer says `value`, made now.
pub fn position(sequence: u32, value: u32) -> Message {
    position_at(sequence, value, now_ms())
}

/// A `position` of version 1 whose odometer says `value`.
pub fn position_at(sequence: u32, value: u32, event_time_ms: u64) -> Message {
    let rest = [Value::Uint(value.into()), Value::Null];
    position_of(&CODECS, 1, (sequence, event_time_ms), &[Value::Symbol("three_d".into())], &rest)
}

/// A `position` of any version: `fix` is what it says of the fix's quality, `rest` what comes after its time.
pub fn position_of(
    codecs: &Codecs,
    version: u8,
    (sequence, event_time_ms): (u32, u64),
    fix: &[Value],
    rest: &[Value],
) -> Message {
    let position = codecs.by_name("position").unwrap();
    let place = [48.1, 11.5, 520.0, 80.0, 90.0].map(Value::Double);
    let time = [Value::Bool(true), Value::Timestamp(1_780_000_000_000)];
    let mut body = Vec::new();
    position.layout(version).unwrap().encode_fields(&[&place, fix, &time, rest].concat(), &mut body).unwrap();
    (MessageHeader { type_id: position.message_type.id, version, sequence, event_time_ms }, body)
}

/// The Snappy block of a package with these messages.
pub fn block(messages: &[Message]) -> Bytes {
    let mut builder = Builder::new(PackageLimits { max_bytes: 64 << 20, max_messages: u16::MAX });
    for (header, body) in messages {
        builder.push(header, body).unwrap();
    }
    builder.finish().unwrap()
}

/// The package before compression.
pub fn plain(messages: &[Message]) -> Vec<u8> {
    let mut builder = Builder::new(PackageLimits { max_bytes: 64 << 20, max_messages: u16::MAX });
    for (header, body) in messages {
        builder.push(header, body).unwrap();
    }
    builder.plain().to_vec()
}

/// The bytes of a frame.
pub fn bytes_of(frame: &Frame) -> BytesMut {
    let mut bytes = BytesMut::new();
    frame.encode(&mut bytes);
    bytes
}

/// A Hello as a device sends it.
pub fn hello(device_id: &str, token: &str) -> Frame {
    let credential = Credential::new(Bytes::copy_from_slice(token.as_bytes())).unwrap();
    Frame::Hello(Hello { device_id: DeviceId::new(device_id).unwrap(), credential })
}

/// Sends bytes on a connection of their own, and returns what the server says until it closes.
pub async fn say(server: SocketAddr, bytes: &[u8]) -> Vec<Frame> {
    let mut stream = TcpStream::connect(server).await.unwrap();
    // A write may fail because the server has closed; what it said before is read all the same.
    let _ = stream.write_all(bytes).await;
    let mut inbox = BytesMut::new();
    let mut frames = Vec::new();
    while let Some(frame) = next_frame(&mut stream, &mut inbox).await {
        frames.push(frame);
    }
    frames
}

async fn next_frame(stream: &mut (impl AsyncRead + Unpin), inbox: &mut BytesMut) -> Option<Frame> {
    loop {
        if let Some(frame) = frame::decode(inbox, INBOX_LIMIT).expect("the server speaks the protocol") {
            return Some(frame);
        }
        match in_time("a frame from the server, or its close", stream.read_buf(inbox)).await {
            Ok(0) | Err(_) => return None,
            Ok(_) => {}
        }
    }
}

impl Device {
    /// Connects and says Hello; the refusal if there is one.
    pub async fn try_connect(server: SocketAddr, device_id: &str, token: &str) -> Result<Self, Option<Refused>> {
        Self::try_connect_from(Ipv4Addr::LOCALHOST, server, device_id, token).await
    }

    /// Like [`Device::try_connect`], from another address of the loopback network.
    pub async fn try_connect_from(
        source: Ipv4Addr,
        server: SocketAddr,
        device_id: &str,
        token: &str,
    ) -> Result<Self, Option<Refused>> {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((source, 0).into()).unwrap();
        let stream = socket.connect(server).await.map_err(|_| None)?;
        stream.set_nodelay(true).unwrap();
        Self::greet(stream, device_id, token).await
    }

    /// Connects without a token.
    pub async fn connect(server: SocketAddr, device_id: &str) -> Self {
        Self::try_connect(server, device_id, "").await.unwrap_or_else(|refused| panic!("refused: {refused:?}"))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Device<S> {
    /// Says Hello; the refusal if there is one, or nothing if the server has closed.
    pub async fn greet(mut stream: S, device_id: &str, token: &str) -> Result<Self, Option<Refused>> {
        let hello = bytes_of(&hello(device_id, token));
        // What the server said before it closed is read all the same.
        let _ = async {
            stream.write_all(&hello).await?;
            stream.flush().await
        }
        .await;
        let mut inbox = BytesMut::new();
        match next_frame(&mut stream, &mut inbox).await {
            Some(Frame::Welcome(welcome)) => Ok(Self { stream, welcome, inbox, last_package_id: 0 }),
            Some(Frame::Refused(refused)) => Err(Some(refused)),
            Some(other) => panic!("not an answer to Hello: {other:?}"),
            None => Err(None),
        }
    }

    pub async fn send(&mut self, frame: &Frame) -> std::io::Result<()> {
        self.stream.write_all(&bytes_of(frame)).await?;
        self.stream.flush().await
    }

    /// The next frame; `None` when the server has closed the connection.
    pub async fn next(&mut self) -> Option<Frame> {
        next_frame(&mut self.stream, &mut self.inbox).await
    }

    /// Sends a package and returns its id.
    pub async fn send_block(&mut self, block: Bytes) -> u32 {
        self.last_package_id += 1;
        let package_id = self.last_package_id;
        self.send(&Frame::Package(PackageFrame { package_id, block })).await.unwrap();
        package_id
    }

    pub async fn send_package(&mut self, messages: &[Message]) -> u32 {
        self.send_block(block(messages)).await
    }

    /// The next receipt; everything else but Pong is a failure.
    pub async fn receipt(&mut self) -> Receipt {
        loop {
            match self.next().await {
                Some(Frame::Receipt(receipt)) => return receipt,
                Some(Frame::Pong(_)) => {}
                other => panic!("instead of a receipt: {other:?}"),
            }
        }
    }

    /// Sends a package and returns what became of its messages.
    pub async fn deliver(&mut self, messages: &[Message]) -> Vec<Outcome> {
        let package_id = self.send_package(messages).await;
        let receipt = self.receipt().await;
        assert_eq!(receipt.package_id, package_id);
        receipt.outcomes(messages.len() as u16).expect("a receipt of this package").collect()
    }

    /// Sends a package that has to be accepted.
    pub async fn accepted(&mut self, messages: &[Message]) {
        let outcomes = self.deliver(messages).await;
        assert!(outcomes.iter().all(|outcome| *outcome == Outcome::Accepted), "{outcomes:?}");
    }

    /// Asserts that the connection is served: a Ping is answered, and nothing came before the answer.
    pub async fn answers_only_ping(&mut self) {
        let nonce = 0xA11CE;
        self.send(&Frame::Ping { nonce }).await.unwrap();
        match self.next().await {
            Some(Frame::Pong(pong)) => assert_eq!(pong.nonce, nonce),
            other => panic!("instead of a Pong: {other:?}"),
        }
    }

    /// Reads until the connection's end and returns the last words.
    pub async fn last_words(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.next().await {
            frames.push(frame);
        }
        frames
    }
}
