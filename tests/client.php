<?php
/*
 * What the published PHP client of the original server asks, asked by PHP itself: each line of the input is a call, each line of the
 * output what became of it, both in JSON. The first argument is how PHP sends requests, "curl" or "stream"; then the URL, the key, and the
 * address to connect from.
 */

declare(strict_types=1);

final class Thrown extends Exception
{
}

abstract class Transport
{
    public function __construct(protected string $url, protected string $key, protected string $address)
    {
    }

    /** @return array{int, array<string, string>, string} the status, the headers in the letters in which they came, and the body */
    abstract public function send(string $method, string $target, array $headers, ?string $body): array;

    /** @return list<string> */
    protected function lines(array $headers): array
    {
        $headers += ['Accept' => 'application/json', 'x-api-key' => $this->key];
        return array_map(fn (string $name, string $value): string => "$name: $value", array_keys($headers), $headers);
    }

    /** @return array<string, string> */
    protected function parsed(array $lines): array
    {
        $headers = [];
        foreach ($lines as $line) {
            [$name, $value] = explode(':', $line, 2) + [1 => null];
            if ($value !== null) {
                $headers[$name] = trim($value);
            }
        }
        return $headers;
    }
}

/** One handle for all requests, as most libraries have it: the connection is kept. */
final class Curl extends Transport
{
    private ?CurlHandle $handle = null;

    public function send(string $method, string $target, array $headers, ?string $body): array
    {
        $this->handle ??= curl_init();
        curl_reset($this->handle);
        $lines = [];
        $options = [
            CURLOPT_URL => $this->url . $target,
            CURLOPT_CUSTOMREQUEST => $method,
            CURLOPT_HTTPHEADER => $this->lines($headers),
            CURLOPT_RETURNTRANSFER => true,
            CURLOPT_INTERFACE => $this->address,
            CURLOPT_HEADERFUNCTION => function (CurlHandle $handle, string $line) use (&$lines): int {
                $lines[] = rtrim($line);
                return strlen($line);
            },
        ];
        // Without a body it sends no length either.
        if ($body !== null) {
            $options[CURLOPT_POSTFIELDS] = $body;
        }
        curl_setopt_array($this->handle, $options);
        $answer = curl_exec($this->handle);
        if ($answer === false) {
            throw new RuntimeException(curl_error($this->handle));
        }
        return [curl_getinfo($this->handle, CURLINFO_RESPONSE_CODE), $this->parsed($lines), $answer];
    }
}

/** What PHP can do without an extension. */
final class Stream extends Transport
{
    public function send(string $method, string $target, array $headers, ?string $body): array
    {
        $http = [
            'method' => $method,
            'header' => $this->lines($headers),
            'ignore_errors' => true,
            'protocol_version' => 1.1,
        ];
        if ($body !== null) {
            $http['content'] = $body;
        }
        $context = stream_context_create(['http' => $http, 'socket' => ['bindto' => "{$this->address}:0"]]);
        $answer = file_get_contents($this->url . $target, false, $context);
        if ($answer === false) {
            throw new RuntimeException('no answer');
        }
        return [(int) explode(' ', $http_response_header[0])[1], $this->parsed($http_response_header), $answer];
    }
}

final class RemoteResource
{
    public string $ticket = '';

    public function __construct(private Transport $transport, private string $name)
    {
    }

    public function getData(string $selector, bool $lock): mixed
    {
        [$status, $headers, $body] = $this->send('GET', $selector, query: ['lock' => (int) $lock]);
        $this->thrown($status);
        $this->ticket = $headers['X-Ticket'] ?? $this->ticket;
        if ($status !== 200) {
            return null;
        }
        $row = json_decode($body, true, flags: JSON_THROW_ON_ERROR);
        return json_decode($row['data'], true, flags: JSON_THROW_ON_ERROR);
    }

    public function lockData(string $selector): bool
    {
        [$status, $headers, $body] = $this->send('PUT', $selector, '/lock');
        $this->thrown($status);
        $this->ticket = $headers['X-Ticket'] ?? $this->ticket;
        return json_decode($body, true, flags: JSON_THROW_ON_ERROR)['locked'];
    }

    public function writeData(string $selector, mixed $data): void
    {
        [$status] = $this->send('PUT', $selector, body: json_encode($data, JSON_THROW_ON_ERROR));
        $this->thrown($status);
    }

    public function unlockData(string $selector): void
    {
        [$status] = $this->send('PUT', $selector, '/unlock');
        $this->thrown($status);
    }

    private function send(string $method, string $selector, string $end = '', array $query = [], ?string $body = null): array
    {
        $headers = $this->ticket === '' ? [] : ['X-Ticket' => $this->ticket];
        if ($body !== null) {
            $headers['Content-Type'] = 'application/json';
        }
        $target = '/resource/' . rawurlencode($this->name) . '/' . rawurlencode($selector) . $end;
        $target .= $query ? '?' . http_build_query($query) : '';
        return $this->transport->send($method, $target, $headers, $body);
    }

    private function thrown(int $status): void
    {
        if ($status >= 400) {
            throw new Thrown('', $status);
        }
    }
}

function perform(string $what, array $arguments, Transport $transport, ?RemoteResource &$resource): mixed
{
    if ($what === 'create') {
        $body = json_encode(['name' => $arguments[0], 'timeout' => $arguments[1]], JSON_THROW_ON_ERROR);
        [$status] = $transport->send('POST', '/resource', ['Content-Type' => 'application/json'], $body);
        if ($status >= 400) {
            throw new Thrown('', $status);
        }
        return null;
    }
    if ($what === 'object') {
        $resource = new RemoteResource($transport, $arguments[0]);
        return null;
    }
    return $resource->$what(...$arguments);
}

[, $way, $url, $key, $address] = $argv;
$transport = $way === 'curl' ? new Curl($url, $key, $address) : new Stream($url, $key, $address);
$resource = null;
while (($line = fgets(STDIN)) !== false) {
    [$what, $arguments] = json_decode($line, true, flags: JSON_THROW_ON_ERROR);
    try {
        $told = ['returned' => perform($what, $arguments, $transport, $resource)];
    } catch (Thrown $thrown) {
        $told = ['thrown' => $thrown->getCode()];
    }
    $told['ticket'] = $resource === null ? '' : $resource->ticket;
    echo json_encode($told, JSON_THROW_ON_ERROR | JSON_PRESERVE_ZERO_FRACTION), "\n";
}
