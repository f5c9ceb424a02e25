//! lacuna-complete
