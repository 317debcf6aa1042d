"""The floor everything stands on: results, errors, card, bundle, protocols, shelf."""
