"""From pings to sends: the streams read, devices chosen, broadcasts cut, units settled."""
