"""What an earlier version left in Redis is finished by this one."""
