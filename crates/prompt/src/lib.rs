//! lacuna-prompt
