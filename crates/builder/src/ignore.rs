//! `.dockerignore`.
