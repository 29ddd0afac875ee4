"""Problems that are solved by thinking, and thoughts that solve them (paper §2.4, §3.3)."""
