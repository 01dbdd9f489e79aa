//! Queries by datagram, and those that other servers are asked for an answer to.

use std::net::SocketAddr;
use std::os::fd::AsFd;

use nix::sys::epoll::{EpollEvent, EpollFlags};

use super::{Server, Slot};
use crate::dns::forward::{Client, Pending, Progress, Unanswered};
use crate::dns::message::{self, Verdict};

const PORT: u16 = 53;
/// So many queries may be on their way at once; more are answered with a failure.
const MOST_PENDING: usize = 1024;
/// So many of one container: it cannot take the place of all others.
const MOST_PENDING_OF_ONE: usize = 256;
/// So many datagrams of one container are answered before the next one has its turn.
const BURST: usize = 64;

impl Server<'_> {
    pub(super) fn datagrams(&mut self, number: u64) {
        for _ in 0..BURST {
            let Some(Slot::Container(container)) = self.slots.get(&number) else {
                return;
            };
            let Ok((length, peer)) = container.udp.recv_from(&mut self.buffer) else {
                return;
            };
            let query = &self.buffer[..length];
            match message::judge(&self.tables, &container.id, query, true) {
                Verdict::Answer(bytes) => {
                    let _ = container.udp.send_to(&bytes, peer);
                }
                Verdict::Forward => {
                    let query = query.to_vec();
                    self.forward(number, Client::Datagram(peer), query);
                }
                Verdict::Ignore => {}
            }
        }
    }

    pub(super) fn forward(&mut self, host: u64, client: Client, query: Vec<u8>) {
        let Some(Slot::Container(container)) = self.slots.get(&host) else {
            return;
        };
        let own = self.tables.host(&container.id);
        let own = own.map(|host| host.servers.clone()).unwrap_or_default();
        let inside = !own.is_empty();
        let servers: Vec<SocketAddr> = match inside {
            true => own.into_iter().map(|ip| (ip, PORT).into()).collect(),
            false => self.resolvers.now().to_vec(),
        };
        let netns = inside.then(|| container.netns.as_fd());
        let room = self.pending < MOST_PENDING && container.pending < MOST_PENDING_OF_ONE;
        let started = match room {
            true => Pending::start(host, client, query, servers, netns),
            false => Err(Unanswered::new(client, &query)),
        };
        match started {
            Ok(pending) => self.await_answer(pending),
            Err(no) => self.give(host, &no.client, no.failure),
        }
    }

    fn await_answer(&mut self, pending: Pending) {
        let host = pending.host;
        if self.add(Slot::Pending(Box::new(pending))).is_ok() {
            self.pending += 1;
            if let Some(Slot::Container(container)) = self.slots.get_mut(&host) {
                container.pending += 1;
            }
        }
    }

    /// A forwarded query's socket is ready.
    pub(super) fn answer(&mut self, number: u64) {
        let Some(Slot::Pending(pending)) = self.slots.get_mut(&number) else {
            return;
        };
        let wrote = pending.wants_to_write();
        match pending.proceed(&mut self.buffer) {
            Progress::Waiting => {
                if wrote && !pending.wants_to_write() {
                    let mut only_in = EpollEvent::new(EpollFlags::EPOLLIN, number);
                    let _ = self.epoll.modify(pending.socket(), &mut only_in);
                }
            }
            Progress::Answered(bytes) => {
                if let Some(Slot::Pending(pending)) = self.take(number) {
                    self.give(pending.host, &pending.client, Some(bytes));
                }
            }
            Progress::Failed(response) => self.try_next(number, response),
        }
    }

    /// Asks the next server, or tells what the last one said.
    pub(super) fn try_next(&mut self, number: u64, response: Option<Vec<u8>>) {
        let Some(Slot::Pending(pending)) = self.take(number) else {
            return;
        };
        let host = pending.host;
        if pending.has_more() {
            let inside = match self.slots.get(&host) {
                Some(Slot::Container(container)) => {
                    let own = self.tables.host(&container.id);
                    own.is_some_and(|own| !own.servers.is_empty())
                        .then(|| container.netns.as_fd())
                }
                _ => return,
            };
            match pending.next(inside) {
                Ok(next) => self.await_answer(next),
                Err(no) => self.give(host, &no.client, response.or(no.failure)),
            }
            return;
        }
        let no = pending.give_up();
        self.give(host, &no.client, response.or(no.failure));
    }

    /// Hands an answer to the one who asked.
    fn give(&mut self, host: u64, client: &Client, bytes: Option<Vec<u8>>) {
        let Some(bytes) = bytes else {
            return;
        };
        match client {
            Client::Datagram(peer) => {
                if let Some(Slot::Container(container)) = self.slots.get(&host) {
                    let _ = container.udp.send_to(&bytes, peer);
                }
            }
            Client::Connection(number) => {
                if let Some(Slot::Connection(connection)) = self.slots.get_mut(number) {
                    connection.push(&bytes);
                }
                self.flush(*number);
            }
        }
    }
}
