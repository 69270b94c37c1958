//! The engine against a seeded fake world.
