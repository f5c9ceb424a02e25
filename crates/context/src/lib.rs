//! lacuna-context
