"""What on this machine makes a measurement lie or noisy, and the cure of each."""
