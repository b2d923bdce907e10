//! YAML -> Config.
