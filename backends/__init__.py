"""What a plan runs against: a real QEMU, a simulated one, or a transcript."""
