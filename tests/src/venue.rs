//! A running venue: what a test or a demo holds in its hand.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

use crate::clock::Clock;
use crate::limit::{Minute, Window};
use crate::market::Market;
use crate::shared::{Event, Floor, Shared};
use crate::{Fault, Kind, Notice, Options, Stats, shell};

/// One running simulated venue. Dropping it ends its tasks and cuts its connections.
pub struct Venue {
    address: SocketAddr,
    shared: Arc<Shared>,
    closing: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Venue {
    /// A venue with its usual ids, whose prices walk.
    pub async fn start(kind: Kind) -> io::Result<Self> {
        Self::start_with(kind, Options::default()).await
    }

    pub async fn start_with(kind: Kind, mut options: Options) -> io::Result<Self> {
        if options.prices.is_empty() {
            let usual = kind.default_prices().iter();
            options.prices = usual.map(|&(id, price)| (id.to_owned(), price.to_owned())).collect();
        }
        let clock = Clock::new();
        let market = Market::new(&options.prices, options.seed, options.step_ppm, clock.now())
            .map_err(|why| io::Error::new(io::ErrorKind::InvalidInput, why))?;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let tick = options.tick;
        let connects = kind.connect_limit().map(|(count, per)| Window::new(count, per));
        let shared = Arc::new(Shared {
            kind,
            options,
            address,
            clock,
            floor: Mutex::new(Floor { market, connects, spent: Minute::default() }),
            events: broadcast::Sender::new(EVENTS),
            fault: watch::Sender::default(),
            cut: watch::Sender::default(),
            stats: watch::Sender::default(),
        });
        let closing = watch::Sender::new(false);
        let mut tasks = JoinSet::new();
        let serving = Arc::clone(&shared);
        tasks.spawn(shell::listen(listener, closing.subscribe(), move |stream, serial| {
            shell::connection(Arc::clone(&serving), stream, serial)
        }));
        if let Some(tick) = tick {
            tasks.spawn(walk(Arc::clone(&shared), tick, closing.subscribe()));
        }
        Ok(Self { address, shared, closing, tasks })
    }

    pub fn kind(&self) -> Kind {
        self.shared.kind
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `ws://127.0.0.1:PORT`, if this venue has WebSockets. The path is the venue's own.
    pub fn ws_origin(&self) -> Option<String> {
        self.shared.kind.has_websocket().then(|| format!("ws://{}", self.address))
    }

    /// `http://127.0.0.1:PORT`, if this venue has an HTTP API here.
    pub fn http_origin(&self) -> Option<String> {
        self.shared.kind.has_http().then(|| self.shared.http_origin())
    }

    /// The venue's real origins, each with the simulated one that takes its place.
    pub fn origins(&self) -> Vec<(String, String)> {
        let simulated = |real: &str| match real.starts_with("ws") {
            true => format!("ws://{}", self.address),
            false => self.shared.http_origin(),
        };
        self.shared.kind.real_origins().iter().map(|real| ((*real).to_owned(), simulated(real))).collect()
    }

    /// The listed ids, in order.
    pub fn ids(&self) -> Vec<String> {
        self.shared.options.prices.iter().map(|(id, _)| id.clone()).collect()
    }

    /// What is wrong from now on. See each [`Fault`] for what it does to live connections.
    pub fn set_fault(&self, fault: Fault) {
        self.shared.fault.send_replace(fault);
    }

    /// Sends exactly this text as the price of `id` to whoever is subscribed, and holds it: the
    /// walk leaves it alone. It need not be a number, so that plugins can be given nonsense.
    ///
    /// # Panics
    ///
    /// If `id` is not listed.
    #[track_caller]
    pub fn push_price(&self, id: &str, price: &str) {
        let mut floor = self.shared.floor();
        let Some(index) = floor.market.find(id) else {
            drop(floor);
            panic!("{} does not list {id}", self.shared.kind.name());
        };
        let change = floor.market.hold(index, price, self.shared.clock.now());
        self.shared.publish(vec![change]);
    }

    /// The price of `id` now, as it is served.
    pub fn price(&self, id: &str) -> Option<String> {
        let floor = self.shared.floor();
        floor.market.find(id).map(|index| floor.market.listing(index).quote.last.to_string())
    }

    /// Sends a frame as it is to every live WebSocket.
    pub fn send_raw(&self, frame: impl Into<Message>) {
        // There may be nobody to hear it.
        let _ = self.shared.events.send(Event::Raw(frame.into()));
    }

    /// Tells every live WebSocket something about the venue, in its own words.
    pub fn announce(&self, notice: Notice) {
        let _ = self.shared.events.send(Event::Notice(notice));
    }

    /// Resets every live connection at once. New ones are welcome.
    pub fn cut(&self) {
        self.shared.cut.send_modify(|cuts| *cuts += 1);
    }

    pub fn stats(&self) -> Stats {
        self.shared.stats.borrow().clone()
    }

    /// Returns as soon as `what` holds; it is asked again after each change, and must not use the
    /// venue itself. Put a timeout around it.
    pub async fn wait(&self, what: impl Fn(&Stats) -> bool) {
        // An error would mean that the sender is gone, which `self` holds.
        let _ = self.shared.stats.subscribe().wait_for(|stats| what(stats)).await;
    }

    /// Ends every task and returns when the last is gone.
    ///
    /// # Panics
    ///
    /// If a task has panicked.
    pub async fn shutdown(mut self) {
        self.closing.send_replace(true);
        shell::join(&mut self.tasks).await;
    }
}

async fn walk(shared: Arc<Shared>, tick: Duration, mut closing: watch::Receiver<bool>) {
    // A zero interval is refused by tokio.
    let mut interval = tokio::time::interval(tick.max(Duration::from_micros(1)));
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shell::closed(&mut closing) => return,
            _ = interval.tick() => {
                let mut floor = shared.floor();
                let changes = floor.market.walk(shared.clock.now());
                shared.publish(changes);
            }
        }
    }
}

/// How many events a connection may lag behind before it is cut as a slow reader.
const EVENTS: usize = 8192;
