//! Just enough HTTP to look at an engine.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::in_time;

/// GETs a path: status and JSON body. `None` if nobody answers.
pub async fn try_get(server: SocketAddr, path: &str) -> Option<(u16, Value)> {
    get_over(TcpStream::connect(server).await.ok()?, path).await
}

/// Like [`try_get`], over an open connection.
pub async fn get_over(mut stream: impl AsyncRead + AsyncWrite + Unpin, path: &str) -> Option<(u16, Value)> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    stream.flush().await.ok()?;
    let mut answer = Vec::new();
    in_time(path, stream.read_to_end(&mut answer)).await.ok()?;
    let answer = String::from_utf8(answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, serde_json::from_str(body).unwrap_or(Value::Null)))
}

/// GETs a path that has to be answered.
pub async fn get(server: SocketAddr, path: &str) -> (u16, Value) {
    try_get(server, path).await.unwrap_or_else(|| panic!("no answer to GET {path}"))
}
