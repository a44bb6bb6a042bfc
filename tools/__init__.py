"""For maintainers, from the checkout: store results and write their pages, ship a model, publish folds."""
