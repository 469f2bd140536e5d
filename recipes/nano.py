"""The small model that ships, from nothing to checkpoint: encoders, language model, then Ferret-v2's three stages."""
