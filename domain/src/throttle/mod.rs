//! Anti-ban pacing of WhatsApp numbers: the modes a key can choose, and the scheduler that the queue,
//! the dialog's preview and the simulator share.

mod mode;
mod schedule;

pub use mode::{MAX_DELAY_MS, MAX_QUEUE, Throttle, ThrottleMode};
pub use schedule::{Pace, Random, Slot, SplitMix, preview};
