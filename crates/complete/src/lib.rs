//! The facade: a file, a cursor, and what to insert there — or the reason why nothing.
//!
//! Owns: the life of one request (ghost text from memory, context, prompt, generation, stop and
//! trim rules, parse check), the per-document state behind it, and what is prepared in the
//! background. Does not own: editors, protocols, configuration files, weights.
//!
//! Start reading at [`Completer::complete`].

mod answer;
mod background;
mod calibration;
mod check;
mod completer;
mod core;
mod cost;
mod decode;
mod eagerness;
mod fill;
mod ghost;
mod indent;
mod items;
mod kept;
mod lease;
mod lines;
mod loops;
mod nearby;
mod opened;
mod outcome;
mod prompting;
mod request;
mod search;
mod settings;
mod show;
mod signs;
mod state;
mod stop;
mod suffix;
mod surroundings;
mod trim;
mod unseen;
mod wishes;
mod word;

pub use calibration::{Calibration, CalibrationError, Levels, passes};
pub use completer::Completer;
pub use cost::Costs;
pub use eagerness::Eagerness;
pub use fill::{Ended, Fill, FillError, Filled, Shape};
pub use nearby::{Nearby, WEIGHTS};
pub use outcome::{
    Considered, Explanation, Filter, Generated, Item, Milliseconds, Outcome, Reason, Reply, Tokens,
};
pub use prompting::excerpts;
pub use request::{Asked, Caller, Flight, Request, Snapshot};
pub use settings::{AUTO_LINES, Evidence, Settings};
pub use show::post_process;
pub use signs::{N_SIGNS, Signs, Stand};
pub use stop::{Exactly, StopRule, Written};
pub use suffix::Suffix;
