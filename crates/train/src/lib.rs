//! lacuna-train
