//! Configuration: one struct, four layers, and for every value the layer it came from.
//!
//! Order: flags > editor settings > `lacuna.toml` in the workspace > the user's file > defaults.
//! What a workspace may not set (`trust`) is named and ignored. What cannot be understood is left
//! out and named ([`Problem`]): servers go on without it, commands end with it
//! ([`Resolved::strict`]).
//!
//! Start reading at [`Config`] for what there is, [`resolve()`] for where it comes from. `layer`
//! reads what a layer states, [`schema`] knows every setting.

mod globs;
mod layer;
pub mod names;
pub mod reference;
mod resolve;
pub mod schema;
mod settings;
mod trust;

pub use globs::globs;
pub use layer::{Origin, Problem};
pub use resolve::{Resolved, read_any, resolve, resolve_here, set_device_flag, user_file};
pub use settings::{
    AutoSetting, Config, ContextConfig, DeviceSetting, DtypeSetting, EagernessSetting,
    ExplicitSetting, HttpConfig, KvConfig, LanguageConfig, LatencyConfig, Lines, ModelConfig,
    OrderSetting, ReuseSetting, ShowConfig, TRAINED, TelemetryConfig, TrustConfig, Wanted,
};
pub use trust::Near;
