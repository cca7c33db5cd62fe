use serde::{Deserialize, Serialize};

/// Delays may be up to ten minutes.
pub const MAX_DELAY_MS: u32 = 600_000;
pub const MAX_QUEUE: u32 = 10_000;

/// How the messages of a key are spaced out. Delays in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "mode", rename_all = "snake_case")]
pub enum ThrottleMode {
    Off,
    Fixed {
        delay_ms: u32,
    },
    /// Each delay is drawn evenly from `min..=max`.
    Random {
        min_ms: u32,
        max_ms: u32,
    },
    /// As `Random`, and after each batch a pause on top.
    Smart {
        min_ms: u32,
        max_ms: u32,
        batch_size: u32,
        cooldown_ms: u32,
    },
}

impl ThrottleMode {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Fixed { .. } => "fixed",
            Self::Random { .. } => "random",
            Self::Smart { .. } => "smart",
        }
    }

    /// "Off", "every 5 s", "3 s to 8 s apart", "3 s to 8 s apart, 1 min after every 10".
    pub fn sentence(self) -> String {
        let s = |ms: u32| crate::time::duration_ms(ms.into());
        match self {
            Self::Off => "Off".into(),
            Self::Fixed { delay_ms } => format!("every {}", s(delay_ms)),
            Self::Random { min_ms, max_ms } => format!("{} to {} apart", s(min_ms), s(max_ms)),
            Self::Smart { min_ms, max_ms, batch_size, cooldown_ms } => {
                format!("{} to {} apart, {} after every {batch_size}", s(min_ms), s(max_ms), s(cooldown_ms))
            }
        }
    }

    /// Messages a minute in the long run, `None` when nothing holds them back.
    pub fn per_minute(self) -> Option<f64> {
        let mean_ms = match self {
            Self::Off => 0.0,
            Self::Fixed { delay_ms } => f64::from(delay_ms),
            Self::Random { min_ms, max_ms } => (f64::from(min_ms) + f64::from(max_ms)) / 2.0,
            Self::Smart { min_ms, max_ms, batch_size, cooldown_ms } => {
                (f64::from(min_ms) + f64::from(max_ms)) / 2.0 + f64::from(cooldown_ms) / f64::from(batch_size.max(1))
            }
        };
        (mean_ms > 0.0).then(|| 60_000.0 / mean_ms)
    }
}

/// A key's pacing: the mode, and how many of its messages may wait on one instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Throttle {
    #[serde(flatten)]
    pub mode: ThrottleMode,
    pub max_queue: u32,
}

impl Default for Throttle {
    fn default() -> Self {
        Self { mode: ThrottleMode::Off, max_queue: 20 }
    }
}
