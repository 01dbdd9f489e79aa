use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::time::Duration;

use super::*;

/// A forwarder in a thread of its own, which ends with the test.
fn forward(socket: OwnedFd, transport: Transport, to: SocketAddr) {
    let forward = Forward {
        socket: 0,
        transport,
        to,
    };
    let forwarder = Forwarder::new(vec![(socket, forward)]).unwrap();
    std::thread::spawn(move || forwarder.serve());
}

#[test]
fn both_directions_of_many_connections_arrive_whole_and_end_as_they_are_ended() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = server.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in server.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                // All of the request first: the answer waits in the forwarder meanwhile.
                let mut got = Vec::new();
                stream.read_to_end(&mut got).unwrap();
                got.reverse();
                stream.write_all(&got).unwrap();
            });
        }
    });
    let port = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = port.local_addr().unwrap();
    forward(port.into(), Transport::Tcp, to);

    let clients = (0..20u32).map(|n| {
        std::thread::spawn(move || {
            let sent: Vec<u8> = (0..1_500_000u32).map(|i| (i * n) as u8).collect();
            let mut stream = TcpStream::connect(address).unwrap();
            stream
                .set_read_timeout(Some(Duration::from_secs(60)))
                .unwrap();
            stream.write_all(&sent).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            let mut got = Vec::new();
            stream.read_to_end(&mut got).unwrap();
            got.reverse();
            assert!(got == sent, "{} of {} bytes", got.len(), sent.len());
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.join().unwrap();
    }
}

#[test]
fn a_port_nobody_serves_closes_its_connections() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = gone.local_addr().unwrap();
    drop(gone);
    let port = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = port.local_addr().unwrap();
    forward(port.into(), Transport::Tcp, to);
    let mut stream = TcpStream::connect(address).unwrap();
    let limit = Some(Duration::from_secs(60));
    stream.set_read_timeout(limit).unwrap();
    let read = stream.read(&mut [0]);
    assert!(
        matches!(&read, Ok(0)) || read.is_err_and(|e| e.kind() == io::ErrorKind::ConnectionReset)
    );
}

#[test]
fn datagrams_are_answered_to_the_client_that_asked() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = server.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 100];
        loop {
            let (length, from) = server.recv_from(&mut buffer).unwrap();
            buffer[..length].reverse();
            server.send_to(&buffer[..length], from).unwrap();
        }
    });
    let port = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = port.local_addr().unwrap();
    forward(port.into(), Transport::Udp, to);
    let client = |text: &'static str| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let limit = Some(Duration::from_secs(60));
        socket.set_read_timeout(limit).unwrap();
        socket.send_to(text.as_bytes(), address).unwrap();
        socket
    };
    for (socket, want) in [(client("one"), "eno"), (client("two"), "owt")] {
        let mut buffer = [0; 100];
        let (length, from) = socket.recv_from(&mut buffer).unwrap();
        assert_eq!((&buffer[..length], from), (want.as_bytes(), address));
    }
}
