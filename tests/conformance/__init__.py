"""What every public layer must keep, run over one table of them all."""
