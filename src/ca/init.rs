//! `caponier ca init`: makes the three authorities.
