//! A TCP proxy before a server, which does at a test's word what networks do.

use std::io::{ErrorKind, Result};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Bytes that are read at once.
const BUFFER_BYTES: usize = 64 * 1024;

/// How long a slow network takes for a byte.
const SLOW_BYTE: Duration = Duration::from_secs(1);

/// What is wrong with the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Every connection is reset, and none is accepted.
    Refused,
    /// Bytes are taken and never arrive; nothing is closed.
    HalfOpen,
    /// What clients send does not arrive; what servers send does.
    ToServerCut,
    /// What servers send does not arrive; what clients send does.
    ToClientCut,
    /// A byte a second, both ways.
    Slow,
}

impl Fault {
    pub(crate) const ALL: [Self; 5] =
        [Self::Refused, Self::HalfOpen, Self::ToServerCut, Self::ToClientCut, Self::Slow];

    fn link(self, side: Side) -> Link {
        match (self, side) {
            (Self::Slow, _) => Link::Slow,
            (Self::HalfOpen, _)
            | (Self::ToServerCut, Side::ToServer)
            | (Self::ToClientCut, Side::ToClient) => Link::Swallow,
            _ => Link::Pass,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    ToServer,
    ToClient,
}

/// What becomes of the bytes of one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    Pass,
    Slow,
    Swallow,
}

#[derive(Debug, Clone, Copy, Default)]
struct Network {
    fault: Option<Fault>,
    /// Connections that were made before so many resets are reset.
    resets: u64,
    /// Connections that were made before so many losses are half-open for ever.
    losses: u64,
}

/// A proxy on a port of its own. Ends with this, and its connections with it.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    network: watch::Sender<Network>,
}

impl Proxy {
    /// Begins to listen, for a server at this port of 127.0.0.1.
    pub(crate) async fn start(upstream: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (network, seen) = watch::channel(Network::default());
        tokio::spawn(accept(listener, upstream, seen));
        Self { port, network }
    }

    /// A configuration whose database is at this port, with the proxy in its place.
    pub(crate) fn stands_in(&self, configuration: &str, port: u16) -> String {
        configuration.replace(&format!("port = {port}\n"), &format!("port = {}\n", self.port))
    }

    /// The fault is there from now on, for the connections that there are and for new ones.
    pub(crate) fn fail(&self, fault: Fault) {
        self.network.send_modify(|network| {
            network.fault = Some(fault);
            network.resets += u64::from(fault == Fault::Refused);
        });
    }

    /// The network is well again. Connections that have lost bytes are reset, as by a server that
    /// does not know them any more.
    pub(crate) fn heal(&self) {
        self.network.send_modify(|network| network.fault = None);
    }

    /// Resets every connection; new ones are well.
    pub(crate) fn reset(&self) {
        self.network.send_modify(|network| network.resets += 1);
    }

    /// Every connection that there is stays half-open for ever; new ones are well.
    pub(crate) fn lose(&self) {
        self.network.send_modify(|network| network.losses += 1);
    }
}

async fn accept(listener: TcpListener, upstream: u16, mut network: watch::Receiver<Network>) {
    let address = listener.local_addr().unwrap();
    let mut listener = Some(listener);
    loop {
        let refuses = network.borrow_and_update().fault == Some(Fault::Refused);
        if refuses {
            listener = None;
        } else if listener.is_none() {
            listener = Some(TcpListener::bind(address).await.unwrap());
        }
        tokio::select! {
            changed = network.changed() => if changed.is_err() { return },
            Some(accepted) = next(listener.as_ref()) => {
                tokio::spawn(carry(accepted, upstream, network.clone()));
            }
        }
    }
}

/// The next connection; none at once if nobody listens.
async fn next(listener: Option<&TcpListener>) -> Option<TcpStream> {
    listener?.accept().await.ok().map(|(stream, _)| stream)
}

/// One connection's life.
async fn carry(mut client: TcpStream, upstream: u16, network: watch::Receiver<Network>) {
    let made = *network.borrow();
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", upstream)).await else {
        return reset(&client);
    };
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let ended_well = {
        let (mut from_client, mut to_client) = client.split();
        let (mut from_server, mut to_server) = server.split();
        let way = |side| Way { side, losses: made.losses, network: network.clone() };
        let both = async {
            tokio::try_join!(
                way(Side::ToServer).carry(&mut from_client, &mut to_server),
                way(Side::ToClient).carry(&mut from_server, &mut to_client),
            )
        };
        tokio::select! {
            ended = both => ended.is_ok(),
            () = was_reset(network.clone(), made.resets) => false,
        }
    };
    if !ended_well {
        reset(&client);
        reset(&server);
    }
}

/// Has a stream end by RST in place of FIN when it is dropped.
fn reset(stream: &TcpStream) {
    stream.set_zero_linger().unwrap();
}

/// Returns when connections of so many resets ago are reset, or the proxy is gone.
async fn was_reset(mut network: watch::Receiver<Network>, resets: u64) {
    let _ = network.wait_for(|network| network.resets > resets).await;
}

/// One direction of a connection.
struct Way {
    side: Side,
    losses: u64,
    network: watch::Receiver<Network>,
}

impl Way {
    fn link(&mut self) -> Link {
        let network = *self.network.borrow_and_update();
        if network.losses > self.losses {
            return Link::Swallow;
        }
        network.fault.map_or(Link::Pass, |fault| fault.link(self.side))
    }
    /// Carries bytes to the sender's end, and that too.
    ///
    /// # Errors
    ///
    /// The connection is broken: by a peer, or because the network is well again and bytes are gone.
    async fn carry(mut self, from: &mut ReadHalf<'_>, to: &mut WriteHalf<'_>) -> Result<()> {
        let mut buffer = vec![0; BUFFER_BYTES];
        let (mut has_lost, mut has_ended) = (false, false);
        loop {
            let link = self.link();
            if has_lost && link != Link::Swallow {
                return Err(ErrorKind::ConnectionReset.into());
            }
            let read = tokio::select! {
                changed = self.network.changed() => {
                    changed.map_err(std::io::Error::other)?;
                    continue;
                }
                read = from.read(&mut buffer), if !has_ended => read,
            };
            match (link, read) {
                (Link::Swallow, read) => {
                    has_lost = true;
                    has_ended = !matches!(read, Ok(1..));
                }
                (_, Err(error)) => return Err(error),
                (_, Ok(0)) => return to.shutdown().await,
                (Link::Pass, Ok(count)) => to.write_all(&buffer[..count]).await?,
                (Link::Slow, Ok(count)) => has_lost = !self.drip(&buffer[..count], to).await?,
            }
        }
    }

    /// Carries bytes slowly while the network is slow; false if it came to lose them.
    async fn drip(&mut self, mut bytes: &[u8], to: &mut WriteHalf<'_>) -> Result<bool> {
        while let Some((first, rest)) = bytes.split_first() {
            match self.link() {
                Link::Swallow => return Ok(false),
                Link::Pass => {
                    to.write_all(bytes).await?;
                    return Ok(true);
                }
                Link::Slow => to.write_all(&[*first]).await?,
            }
            bytes = rest;
            tokio::select! {
                changed = self.network.changed() => changed.map_err(std::io::Error::other)?,
                () = tokio::time::sleep(SLOW_BYTE) => {}
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod checks {
    use super::*;

    /// Longer than anything takes that is not withheld.
    const WHILE: Duration = Duration::from_millis(500);

    /// A server that answers what it is sent, behind a proxy.
    async fn echo() -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        Proxy::start(port).await
    }

    async fn connect(proxy: &Proxy) -> TcpStream {
        TcpStream::connect(("127.0.0.1", proxy.port)).await.unwrap()
    }

    /// Sends two bytes; how many of them come back soon, or how the connection fails.
    async fn answered(stream: &mut TcpStream) -> std::result::Result<usize, ErrorKind> {
        stream.write_all(b"ab").await.map_err(|error| error.kind())?;
        received(stream).await
    }

    async fn received(stream: &mut TcpStream) -> std::result::Result<usize, ErrorKind> {
        let (mut buffer, mut count) = ([0; 2], 0);
        while let Ok(read) = tokio::time::timeout(WHILE, stream.read(&mut buffer[count..])).await {
            count += read.map_err(|error| error.kind())?;
            if count == buffer.len() {
                break;
            }
        }
        Ok(count)
    }

    #[tokio::test]
    async fn bytes_pass_and_a_reset_is_one() {
        let proxy = echo().await;
        let mut stream = connect(&proxy).await;
        assert_eq!(answered(&mut stream).await, Ok(2));
        proxy.reset();
        assert_eq!(received(&mut stream).await, Err(ErrorKind::ConnectionReset));
        assert_eq!(answered(&mut connect(&proxy).await).await, Ok(2));
    }

    #[tokio::test]
    async fn what_is_lost_breaks_the_connection_once_the_network_is_well() {
        for fault in [Fault::HalfOpen, Fault::ToServerCut, Fault::ToClientCut] {
            let proxy = echo().await;
            let (mut lossy, mut idle) = (connect(&proxy).await, connect(&proxy).await);
            assert_eq!(answered(&mut idle).await, Ok(2));
            proxy.fail(fault);
            assert_eq!(answered(&mut lossy).await, Ok(0));
            proxy.heal();
            assert_eq!(received(&mut lossy).await, Err(ErrorKind::ConnectionReset), "{fault:?}");
            assert_eq!(answered(&mut idle).await, Ok(2), "{fault:?}");
        }
    }

    #[tokio::test]
    async fn a_slow_network_loses_nothing() {
        let proxy = echo().await;
        let mut stream = connect(&proxy).await;
        proxy.fail(Fault::Slow);
        assert_eq!(answered(&mut stream).await, Ok(1));
        proxy.heal();
        assert_eq!(stream.read(&mut [0; 2]).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn connections_are_refused_until_the_network_is_well() {
        let proxy = echo().await;
        let mut stream = connect(&proxy).await;
        assert_eq!(answered(&mut stream).await, Ok(2));
        proxy.fail(Fault::Refused);
        assert_eq!(received(&mut stream).await, Err(ErrorKind::ConnectionReset));
        super::super::eventually("none is accepted", async || {
            let refused = TcpStream::connect(("127.0.0.1", proxy.port)).await.err()?;
            (refused.kind() == ErrorKind::ConnectionRefused).then_some(())
        })
        .await;
        proxy.heal();
        super::super::eventually("it listens again", async || {
            TcpStream::connect(("127.0.0.1", proxy.port)).await.ok()
        })
        .await;
    }

    #[tokio::test]
    async fn a_lost_connection_stays_lost_and_others_are_well() {
        let proxy = echo().await;
        let mut stream = connect(&proxy).await;
        assert_eq!(answered(&mut stream).await, Ok(2));
        proxy.lose();
        assert_eq!(answered(&mut stream).await, Ok(0));
        proxy.heal();
        assert_eq!(received(&mut stream).await, Ok(0));
        assert_eq!(answered(&mut connect(&proxy).await).await, Ok(2));
    }
}
