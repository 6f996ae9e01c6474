//! A running venue: what a test or a demo holds in its hand.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{broadcast, watch};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;

use crate::clock::Clock;
use crate::limit::{Minute, Window};
use crate::market::{Change, Market};
use crate::session::World;
use crate::{Fault, Kind, Notice, Stats, shell};

/// How a venue is to be, apart from what it does wrong.
#[derive(Clone, Debug)]
pub struct Options {
    /// The ids that are listed, in the venue's own spelling, with the prices to start from. Empty
    /// means [`Kind::default_prices`].
    pub prices: Vec<(String, String)>,
    /// How often every price moves; `None` is a market that stands still.
    pub tick: Option<Duration>,
    /// The largest move of one tick in millionths of the price to start from.
    pub step_ppm: u32,
    /// The same seed gives the same walk, and the same channel numbers.
    pub seed: u64,
    /// In place of the venue's own interval of heartbeats or pings.
    pub heartbeat: Option<Duration>,
    /// In place of the venue's own limit of subscriptions on one connection.
    pub subscription_limit: Option<usize>,
    /// In place of the age at which the venue closes a connection, where it does.
    pub max_age: Option<Duration>,
    /// The API key that HTTP requests must bring, where the venue knows one. `None` asks for none.
    pub key: Option<String>,
    /// Whether broken limits have the venue's consequences (429, close, error). They are counted in
    /// any case.
    pub enforce_limits: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            prices: Vec::new(),
            tick: Some(Duration::from_millis(200)),
            step_ppm: 500,
            seed: 1,
            heartbeat: None,
            subscription_limit: None,
            max_age: None,
            key: None,
            enforce_limits: true,
        }
    }
}

impl Options {
    /// A market that moves only by [`Venue::push_price`].
    pub fn still() -> Self {
        Self { tick: None, ..Self::default() }
    }

    /// Lists these ids and no others.
    #[must_use]
    pub fn with_prices<'a>(mut self, prices: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        self.prices = prices.into_iter().map(|(id, price)| (id.to_owned(), price.to_owned())).collect();
        self
    }
}

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

/// What all tasks of a venue share.
pub(crate) struct Shared {
    pub(crate) kind: Kind,
    pub(crate) options: Options,
    pub(crate) address: SocketAddr,
    pub(crate) clock: Clock,
    floor: Mutex<Floor>,
    pub(crate) events: broadcast::Sender<Event>,
    pub(crate) fault: watch::Sender<Fault>,
    pub(crate) cut: watch::Sender<u64>,
    pub(crate) stats: watch::Sender<Stats>,
}

/// What changes under one lock, which is never held across an await.
pub(crate) struct Floor {
    pub(crate) market: Market,
    /// Connection attempts; all come from one address here.
    pub(crate) connects: Option<Window>,
    /// The weight of the HTTP requests of the current minute.
    pub(crate) spent: Minute,
}

/// What every live WebSocket is told.
#[derive(Clone)]
pub(crate) enum Event {
    Prices(Arc<[Change]>),
    Raw(Message),
    Notice(Notice),
}

impl Shared {
    pub(crate) fn floor(&self) -> MutexGuard<'_, Floor> {
        self.floor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be called with the floor locked: a connection that holds the lock has then seen every
    /// change there was.
    fn publish(&self, changes: Vec<Change>) {
        let _ = self.events.send(Event::Prices(changes.into()));
    }

    pub(crate) fn count(&self, change: impl FnOnce(&mut Stats)) {
        self.stats.send_modify(change);
    }

    pub(crate) fn http_origin(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn world<'a>(&'a self, market: &'a Market, fault: &Fault) -> World<'a> {
        World {
            now: self.clock.now(),
            market,
            options: &self.options,
            silent: *fault == Fault::Silent,
            reject_all: *fault == Fault::RejectAll,
            gaps: *fault == Fault::SequenceGaps,
        }
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
