// Uploads 30 MB and prints the whole answer: `upload <1 or 2> <url>`.
package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
)

func main() {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(os.Args[1] == "1")
	protocols.SetUnencryptedHTTP2(os.Args[1] == "2")
	client := http.Client{Transport: &http.Transport{Protocols: protocols}}
	body := bytes.NewReader(make([]byte, 30_000_000))
	answer, err := client.Post(os.Args[2], "application/octet-stream", body)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("%d %s", answer.StatusCode, text)
}
