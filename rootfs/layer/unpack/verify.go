package unpack

type state struct{}
