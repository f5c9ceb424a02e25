//! lacuna-text
