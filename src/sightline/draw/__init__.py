"""Results on pictures, figures and the HTML report."""
