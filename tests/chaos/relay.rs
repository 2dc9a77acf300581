//! A TCP relay in front of one node: it hands on what comes, and harms what it was told to. All relays of a cluster follow
//! the same orders.

use crate::frames::{Conversation, Frames, Order, Treatment};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// After a request that was held back: so long its connection to the broker stays open, for the broker to read it.
const LAST_WORD: Duration = Duration::from_millis(300);

/// What the relays of a cluster do, and what they did.
#[derive(Default)]
pub struct Orders {
    order: Mutex<Option<Order>>,
    /// New connections end at once.
    refusing: AtomicBool,
    refused: AtomicU32,
    next: AtomicU64,
    /// The client's side of every connection that is open.
    open: Mutex<BTreeMap<u64, TcpStream>>,
}

impl Orders {
    /// From now on, this is done.
    pub fn give(&self, order: Order) {
        *lock(&self.order) = Some(order);
    }

    /// How many frames the order has harmed so far.
    pub fn done(&self) -> u32 {
        lock(&self.order).as_ref().map_or(0, |order| order.done)
    }

    /// Nothing is harmed any more; how many frames were.
    pub fn withdraw(&self) -> u32 {
        lock(&self.order).take().map_or(0, |order| order.done)
    }

    /// Ends every connection; how many there were.
    pub fn cut_all(&self) -> usize {
        let open = lock(&self.open);
        let cut = |stream: &&TcpStream| stream.shutdown(Shutdown::Both).is_ok();
        open.values().filter(cut).count()
    }

    /// Whether new connections are refused. Answers how many were since the last call.
    pub fn refuse(&self, refusing: bool) -> u32 {
        self.refusing.store(refusing, Ordering::Release);
        self.refused.swap(0, Ordering::AcqRel)
    }

    fn on_request(&self, key: i16) -> Treatment {
        let mut order = lock(&self.order);
        order.as_mut().map_or(Treatment::Pass, |order| order.on_request(key))
    }

    fn on_answer(&self, key: i16) -> Treatment {
        let mut order = lock(&self.order);
        order.as_mut().map_or(Treatment::Pass, |order| order.on_answer(key))
    }
}

/// One relay. Ends when dropped.
pub struct Relay {
    address: String,
    ended: Arc<AtomicBool>,
    orders: Arc<Orders>,
}

impl Relay {
    /// Listens at `address` and hands on to `target`.
    pub fn start(address: &str, target: &str, orders: &Arc<Orders>) -> Self {
        let listener = TcpListener::bind(address).expect("the port of a relay");
        let ended = Arc::new(AtomicBool::new(false));
        let (ends, follows, target) = (ended.clone(), orders.clone(), target.to_owned());
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if ends.load(Ordering::Acquire) {
                    return;
                }
                if follows.refusing.load(Ordering::Acquire) {
                    follows.refused.fetch_add(1, Ordering::AcqRel);
                } else if let Ok(server) = TcpStream::connect(&target) {
                    // A node that is down answers no client: dropped, the connection ends.
                    let _ = connect(client, server, &follows);
                }
            }
        });
        Self {
            address: address.to_owned(),
            ended,
            orders: orders.clone(),
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
        self.orders.cut_all();
        // Wakes the thread that listens.
        let _ = TcpStream::connect(&self.address);
    }
}

/// One thread for each direction.
fn connect(client: TcpStream, server: TcpStream, orders: &Arc<Orders>) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let conversation = Arc::new(Mutex::new(Conversation::default()));
    let id = orders.next.fetch_add(1, Ordering::AcqRel);
    lock(&orders.open).insert(id, client.try_clone()?);
    let asking = Way {
        from: client.try_clone()?,
        to: server.try_clone()?,
        conversation: conversation.clone(),
        orders: orders.clone(),
    };
    let answering = Way {
        from: server,
        to: client,
        conversation,
        orders: orders.clone(),
    };
    thread::spawn(move || {
        asking.hand_on_requests();
        lock(&asking.orders.open).remove(&id);
    });
    thread::spawn(move || answering.hand_on_answers());
    Ok(())
}

/// One direction of a connection.
struct Way {
    from: TcpStream,
    to: TcpStream,
    conversation: Arc<Mutex<Conversation>>,
    orders: Arc<Orders>,
}

impl Way {
    /// Until the client or an order ends it. Then the broker's side ends too.
    fn hand_on_requests(&self) {
        self.each_frame(|frame| {
            let asked = lock(&self.conversation).asks(frame);
            match asked.map_or(Treatment::Pass, |key| self.orders.on_request(key)) {
                Treatment::Pass | Treatment::Wait(_) => (&self.to).write_all(frame).is_ok(),
                Treatment::Swallow => true,
                Treatment::Cut => false,
                Treatment::CutAndHold(late) => {
                    let _ = self.from.shutdown(Shutdown::Both);
                    thread::sleep(late);
                    let _ = (&self.to).write_all(frame);
                    thread::sleep(LAST_WORD);
                    false
                }
            }
        });
        let _ = self.from.shutdown(Shutdown::Both);
        let _ = self.to.shutdown(Shutdown::Both);
    }

    /// Until the broker or an order ends it. A client that is gone does not end it: a request may be held back for it.
    fn hand_on_answers(&self) {
        self.each_frame(|frame| {
            let asked = lock(&self.conversation).answers(frame);
            match asked.map_or(Treatment::Pass, |key| self.orders.on_answer(key)) {
                Treatment::Swallow => return true,
                Treatment::Cut | Treatment::CutAndHold(_) => return false,
                Treatment::Wait(delay) => thread::sleep(delay),
                Treatment::Pass => {}
            }
            let _ = (&self.to).write_all(frame);
            true
        });
        let _ = self.to.shutdown(Shutdown::Both);
        let _ = self.from.shutdown(Shutdown::Both);
    }

    fn each_frame(&self, mut hand_on: impl FnMut(&[u8]) -> bool) {
        let mut frames = Frames::default();
        let mut bytes = vec![0; 64 << 10];
        loop {
            match (&self.from).read(&mut bytes) {
                Ok(0) | Err(_) => return,
                Ok(count) => frames.push(&bytes[..count]),
            }
            loop {
                match frames.next() {
                    Ok(Some(frame)) if !hand_on(&frame) => return,
                    Ok(Some(_)) => {}
                    Ok(None) => break,
                    Err(length) => panic!("a relay saw a frame of {length} bytes"),
                }
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::{Api, Harm};
    use crate::harness::os::PortLease;
    use std::time::Instant;

    /// Answers each request with its own first bytes: length 4, and the correlation id.
    fn echo(address: &str) {
        let listener = TcpListener::bind(address).expect("a port");
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                thread::spawn(move || {
                    let mut frame = [0; 12];
                    while stream.read_exact(&mut frame).is_ok() {
                        let answer = [&[0, 0, 0, 4], &frame[8..]].concat();
                        if stream.write_all(&answer).is_err() {
                            return;
                        }
                    }
                });
            }
        });
    }

    fn ask(stream: &mut TcpStream, key: i16, correlation_id: i32) {
        let mut frame = 8_i32.to_be_bytes().to_vec();
        frame.extend(key.to_be_bytes());
        frame.extend([0, 1]);
        frame.extend(correlation_id.to_be_bytes());
        stream.write_all(&frame).expect("a request is sent");
    }

    /// The correlation id of the next answer; none at the end of the connection.
    fn heard(stream: &mut TcpStream) -> Option<i32> {
        let mut answer = [0; 8];
        stream.read_exact(&mut answer).ok()?;
        Some(i32::from_be_bytes(*answer.last_chunk()?))
    }

    #[test]
    fn a_relay_loses_delays_cuts_and_refuses_as_it_is_told() {
        let (node, front) = (PortLease::take(), PortLease::take());
        echo(&node.address());
        let orders = Arc::new(Orders::default());
        let _relay = Relay::start(&front.address(), &node.address(), &orders);
        let come = || TcpStream::connect(front.address()).expect("a connection");
        let end = Api::END_TXN.key;

        let mut client = come();
        orders.give(Order::new(Api::END_TXN, Harm::LoseAnswer, 1));
        ask(&mut client, end, 1);
        ask(&mut client, 3, 2);
        ask(&mut client, end, 3);
        assert_eq!((heard(&mut client), heard(&mut client)), (Some(2), Some(3)));
        assert_eq!((orders.withdraw(), orders.done()), (1, 0));

        orders.give(Order::new(
            Api::END_TXN,
            Harm::DelayAnswer(Duration::from_millis(200)),
            1,
        ));
        let asked = Instant::now();
        ask(&mut client, end, 4);
        assert_eq!(heard(&mut client), Some(4));
        assert!(asked.elapsed() >= Duration::from_millis(200));

        orders.give(Order::new(
            Api::END_TXN,
            Harm::LateRequest(Duration::from_millis(50)),
            1,
        ));
        ask(&mut client, end, 5);
        assert_eq!(heard(&mut client), None, "the connection ends");
        assert_eq!(orders.done(), 1);

        let mut client = come();
        orders.give(Order::new(Api::PRODUCE, Harm::CutBeforeAnswer, 1));
        ask(&mut client, 0, 6);
        assert_eq!(heard(&mut client), None, "the connection ends");

        let mut client = come();
        ask(&mut client, 3, 7);
        assert_eq!(heard(&mut client), Some(7));
        orders.refuse(true);
        assert!(orders.cut_all() >= 1);
        assert_eq!(heard(&mut client), None, "the connection ends");
        assert_eq!(heard(&mut come()), None, "refused");
        assert_eq!(orders.refuse(false), 1);
        let mut client = come();
        ask(&mut client, 3, 8);
        assert_eq!(heard(&mut client), Some(8));
    }
}
