//! Tokio's mpsc channel, for weir_bench to ask: a line "W3 u64 EVENTS" on the standard input is answered by a line of
//! figures, "ns_per_event 41.5 allocs_per_event 0", or by "error" and what went wrong.

use std::alloc::{GlobalAlloc, Layout, System};
use std::future::Future;
use std::io::{BufRead, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;

const DEFAULT_CAPACITY: usize = 1024;
const IDLE_CAPACITY: usize = 16; // W8's

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        System.alloc(layout)
    }
    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        System.dealloc(memory, layout)
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// u64 and p64 by their number of words.
type Payload<const WORDS: usize> = [u64; WORDS];

fn number<const WORDS: usize>(n: u64) -> Payload<WORDS> {
    std::array::from_fn(|k| n + k as u64)
}

fn digest<const WORDS: usize>(value: &Payload<WORDS>) -> u64 {
    value.iter().sum()
}

/// What the digests of the numbers below `events` add up to.
fn expected<const WORDS: usize>(events: u64) -> u64 {
    let words = WORDS as u64;
    words * (events * (events - 1) / 2) + words * (words - 1) / 2 * events
}

fn check(want: u64, got: u64) -> Result<(), String> {
    if want == got {
        return Ok(());
    }
    Err(format!("what came out is not what went in: expected {}, got {}", want, got))
}

fn one_thread() -> Runtime {
    Builder::new_current_thread().build().unwrap()
}

fn two_threads() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).build().unwrap()
}

/// Runs `job`, which gives the sum of the digests that it received.
fn measure<const WORDS: usize>(
    runtime: Runtime,
    events: u64,
    job: impl Future<Output = u64>,
) -> Result<String, String> {
    let allocated = ALLOCATIONS.load(Ordering::Relaxed);
    let start = Instant::now();
    let sum = runtime.block_on(job);
    let elapsed = start.elapsed().as_nanos() as f64;
    let allocated = (ALLOCATIONS.load(Ordering::Relaxed) - allocated) as f64;
    check(expected::<WORDS>(events), sum)?;
    let each = 1.0 / events as f64;
    Ok(format!("ns_per_event {} allocs_per_event {}", elapsed * each, allocated * each))
}

async fn stream<const WORDS: usize>(events: u64, capacity: usize, senders: u64) -> u64 {
    let (tx, mut rx) = mpsc::channel::<Payload<WORDS>>(capacity);
    let share = events / senders;
    for sender in 0..senders {
        let tx = tx.clone();
        tokio::spawn(async move {
            for i in share * sender..share * (sender + 1) {
                if tx.send(number(i)).await.is_err() {
                    return;
                }
            }
        });
    }
    drop(tx);
    let receiver = tokio::spawn(async move {
        let mut sum = 0;
        while let Some(value) = rx.recv().await {
            sum += digest(&value);
        }
        sum
    });
    receiver.await.unwrap_or(0)
}

async fn requests<const WORDS: usize>(events: u64) -> u64 {
    let (request, mut requests) = mpsc::channel::<Payload<WORDS>>(1);
    let (reply, mut replies) = mpsc::channel::<Payload<WORDS>>(1);
    tokio::spawn(async move {
        while let Some(value) = requests.recv().await {
            if reply.send(value).await.is_err() {
                return;
            }
        }
    });
    let client = tokio::spawn(async move {
        let mut sum = 0;
        for i in 0..events {
            if request.send(number(i)).await.is_err() {
                break;
            }
            match replies.recv().await {
                Some(value) => sum += digest(&value),
                None => break,
            }
        }
        sum
    });
    client.await.unwrap_or(0)
}

#[repr(C)]
struct MallocInfo {
    arena: usize,
    ordblks: usize,
    smblks: usize,
    hblks: usize,
    hblkhd: usize,
    usmblks: usize,
    fsmblks: usize,
    uordblks: usize,
    fordblks: usize,
    keepcost: usize,
}

extern "C" {
    fn mallinfo2() -> MallocInfo;
}

fn heap_bytes() -> f64 {
    let info = unsafe { mallinfo2() };
    (info.uordblks + info.hblkhd) as f64
}

fn resident_bytes() -> f64 {
    const PAGE: f64 = 4096.0;
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<f64>().ok()).unwrap_or(0.0) * PAGE
}

fn idle<const WORDS: usize>(count: u64) -> Result<String, String> {
    let runtime = two_threads();
    let mut senders = Vec::with_capacity(count as usize);
    // Its pages are there before they are counted.
    senders.resize_with(count as usize, || None);
    let sum: &'static AtomicU64 = Box::leak(Box::new(AtomicU64::new(0)));
    let waiting: &'static AtomicU64 = Box::leak(Box::new(AtomicU64::new(0)));
    let received: &'static AtomicU64 = Box::leak(Box::new(AtomicU64::new(0)));
    let all_of = |counter: &AtomicU64| {
        while counter.load(Ordering::Acquire) < count {
            std::thread::yield_now();
        }
    };

    let (heap, resident) = (heap_bytes(), resident_bytes());
    for sender in &mut senders {
        let (tx, mut rx) = mpsc::channel::<Payload<WORDS>>(IDLE_CAPACITY);
        *sender = Some(tx);
        runtime.spawn(async move {
            waiting.fetch_add(1, Ordering::Release);
            if let Some(value) = rx.recv().await {
                sum.fetch_add(digest(&value), Ordering::Relaxed);
            }
            received.fetch_add(1, Ordering::Release);
        });
    }
    all_of(waiting);
    let (heap_after, resident_after) = (heap_bytes(), resident_bytes());

    let allocated = ALLOCATIONS.load(Ordering::Relaxed);
    let start = Instant::now();
    runtime.spawn(async move {
        for (i, sender) in senders.iter().enumerate() {
            if let Some(tx) = sender {
                let _ = tx.send(number(i as u64)).await;
            }
        }
        // Kept to the end: closing the channels is not measured.
        std::mem::forget(senders);
    });
    all_of(received);
    let elapsed = start.elapsed().as_nanos() as f64;
    let allocated = (ALLOCATIONS.load(Ordering::Relaxed) - allocated) as f64;
    check(expected::<WORDS>(count), sum.load(Ordering::Relaxed))?;
    let each = 1.0 / count as f64;
    Ok(format!(
        "bytes {} resident_bytes {} ns_per_value {} allocs_per_event {}",
        (heap_after - heap) * each,
        (resident_after - resident) * each,
        elapsed * each,
        allocated * each
    ))
}

fn answer<const WORDS: usize>(workload: &str, events: u64) -> Result<String, String> {
    match workload {
        "W1" => measure::<WORDS>(one_thread(), events, stream::<WORDS>(events, DEFAULT_CAPACITY, 1)),
        "W2" => measure::<WORDS>(two_threads(), events, stream::<WORDS>(events, DEFAULT_CAPACITY, 1)),
        "W3" => measure::<WORDS>(two_threads(), events, stream::<WORDS>(events, DEFAULT_CAPACITY, 4)),
        "W5.local" => measure::<WORDS>(one_thread(), events, stream::<WORDS>(events, 1, 1)),
        "W5.shared" => measure::<WORDS>(two_threads(), events, stream::<WORDS>(events, 1, 1)),
        "W5.local_request" => measure::<WORDS>(one_thread(), events, requests::<WORDS>(events)),
        "W5.shared_request" => measure::<WORDS>(two_threads(), events, requests::<WORDS>(events)),
        "W8" => idle::<WORDS>(events),
        _ => Err(format!("there is no workload {}", workload)),
    }
}

fn reply(line: &str) -> Result<String, String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    if let [workload, payload, events] = words[..] {
        match (payload, events.parse::<u64>()) {
            ("u64", Ok(events)) if events > 0 => return answer::<1>(workload, events),
            ("p64", Ok(events)) if events > 0 => return answer::<8>(workload, events),
            _ => (),
        }
    }
    Err(format!("not understood: {}", line))
}

fn main() {
    let mut output = std::io::stdout();
    for line in std::io::stdin().lock().lines() {
        let line = match line {
            Ok(line) => line,
            Err(_) => return,
        };
        let text = reply(&line).unwrap_or_else(|why| format!("error {}", why));
        if writeln!(output, "{}", text).and_then(|()| output.flush()).is_err() {
            return;
        }
    }
}
