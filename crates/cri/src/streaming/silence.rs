//! Sessions that both sides have forgotten end some day. When data last came or went the kernel knows.

use std::future::pending;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use tokio::net::TcpStream;

/// Waits until nothing has been sent or received on a connection for so long.
pub(super) fn of(connection: &TcpStream, limit: Duration) -> impl Future<Output = ()> + use<> {
    let connection = connection.as_fd().try_clone_to_owned();
    async move {
        let Ok(connection) = connection else {
            return pending().await;
        };
        while let Ok(silence) = silence(&connection) {
            match limit.checked_sub(silence) {
                Some(left) if !left.is_zero() => tokio::time::sleep(left).await,
                _ => return,
            }
        }
        pending().await
    }
}

fn silence(connection: &OwnedFd) -> io::Result<Duration> {
    // SAFETY: integers alone; all zeros are a value of it.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes to `info`.
    let done = unsafe {
        libc::getsockopt(
            connection.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &mut length,
        )
    };
    match done {
        0 => Ok(Duration::from_millis(
            info.tcpi_last_data_sent
                .min(info.tcpi_last_data_recv)
                .into(),
        )),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn only_silence_counts() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut client = TcpStream::connect(address).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        let limit = Duration::from_millis(300);
        let began = Instant::now();
        let silent = of(&server, limit);
        let talk = async {
            for turn in 0..10 {
                tokio::time::sleep(limit / 5).await;
                // One direction is enough, whichever.
                match turn < 5 {
                    true => client.write_all(b"x").await.unwrap(),
                    false => server.write_all(b"y").await.unwrap(),
                }
            }
            let mut said = [0; 5];
            client.read_exact(&mut said).await.unwrap();
            server.read_exact(&mut said).await.unwrap();
        };
        tokio::join!(silent, talk);
        assert!(began.elapsed() >= limit * 3, "{:?}", began.elapsed());
    }
}
