# A client on the machine: connects to a port, makes one request, or many. Prints "key value" lines.
#
#   connect PORT | get URL | load URL RATE SECONDS | rate URL SECONDS
use strict;
use IO::Socket::INET;
use IPC::Open3;

my ($what, @given) = @ARGV;
$SIG{ALRM} = sub { die "no answer within 10 s\n" };

# A value on one line.
sub line {
    my ($key, $value) = @_;
    $value =~ s/\\/\\\\/g;
    $value =~ s/\r/\\r/g;
    $value =~ s/\n/\\n/g;
    print "$key $value\n";
}

# Seconds, with hundredths; perl-base has no Time::HiRes.
sub now {
    open my $uptime, '<', '/proc/uptime' or die "$!\n";
    return (split ' ', <$uptime>)[0];
}

sub dial {
    my ($host, $port) = @_;
    return IO::Socket::INET->new(PeerAddr => $host, PeerPort => $port, Proto => 'tcp', Timeout => 5)
        || die lcfirst(($! || 'no such host') . "\n");
}

# The parts of the URL, and a request for it with these further lines.
sub asked {
    my ($scheme, $host, $port, $path) = $given[0] =~ m{^(https?)://([^/:]+)(?::(\d+))?(/.*)?$} or die "not a URL\n";
    $port ||= $scheme eq 'https' ? 443 : 80;
    my $name = $port == 80 || $port == 443 ? $host : "$host:$port";
    my $request = sprintf "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: assay\r\nAccept: */*\r\n%s\r\n", $path || '/',
        $name, $_[0];
    return ($scheme, $host, $port, $request);
}

sub get {
    my ($scheme, $host, $port, $request) = asked("Connection: close\r\n");
    my ($all, $errors) = ('', '');
    if ($scheme eq 'http') {
        my $socket = dial($host, $port);
        print $socket $request;
        while (length $all < 1 << 20 && sysread $socket, my $part, 65536) { $all .= $part }
    }
    else {
        dial($host, $port)->close;
        my @tls = ('openssl', 's_client', '-quiet', '-verify_quiet', '-connect', "$host:$port", '-servername', $host);
        my $tls = open3(my $in, my $out, undef, @tls);
        print $in $request;
        $in->flush;
        while (length $all < 1 << 20 && sysread $out, my $part, 65536) { $all .= $part }
        kill 'TERM', $tls;
        waitpid $tls, 0;
        # openssl says more than the answer: of an error, one line.
        $all =~ s/^.*?(?=HTTP\/1)//s or $all =~ s/^.*?:error:[0-9A-F]+://s;
    }
    my ($status) = $all =~ m{^HTTP/1\.\d (\d+)} or die +(split /\n/, $all)[0] || 'closed without an answer', "\n";
    my ($head, $body) = split /\r?\n\r?\n/, $all, 2;
    if ($head =~ /^transfer-encoding:\s*chunked/im) {
        my $whole = '';
        while ($body =~ s/^([0-9a-f]+)[^\r\n]*\r?\n//i && hex $1) { $whole .= substr $body, 0, hex $1, ''; $body =~ s/^\r?\n// }
        $body = $whole;
    }
    return ($status, $body);
}

sub once {
    my ($ask) = @_;
    alarm 10;
    my @answer = eval { $ask->() };
    alarm 0;
    return @answer;
}

# Reads one answer: whether it has the status 200, and whether the connection stays open.
sub answer {
    my ($socket) = @_;
    my $all = '';
    my $more = sub { sysread($socket, $all, 65536, length $all) || die "closed without an answer\n" };
    $more->() until $all =~ /\r?\n\r?\n/;
    my ($head, $from) = ($`, length($`) + length $&);
    my $open = $head =~ m{^HTTP/1\.1} && $head !~ /^connection:\s*close/im;
    if ($head =~ /^content-length:\s*(\d+)/im) { my $end = $from + $1; $more->() while length $all < $end }
    elsif ($head =~ /^transfer-encoding:\s*chunked/im) { $more->() until $all =~ /\n0\r?\n\r?\n$/ }
    else { eval { $more->() while 1 }; $open = 0; die $@ if $@ eq "over\n" }
    return ($head =~ m{^HTTP/1\.\d 200}, $open);
}

if ($what eq 'connect') {
    my @answer = once(sub {
        my $socket = dial('127.0.0.1', $given[0]);
        vec(my $ready = '', fileno $socket, 1) = 1;
        # A proxy in front of a container takes each connection, and closes it if nothing listens behind it.
        if (select $ready, undef, undef, 0.5) { sysread $socket, my $byte, 1 or die "closed at once\n" }
        return 'connected';
    });
    chomp(my $error = $@);
    line('net.connect', $answer[0] || "refused: $error");
}
elsif ($what eq 'get') {
    my ($status, $body) = once(\&get);
    chomp(my $error = $@);
    line('http.status', $status || "none: $error");
    line('http.body', substr $body, 0, 65536) if length $body;
}
elsif ($what eq 'load') {
    my ($url, $rate, $seconds) = @given;
    my ($begin, $asked, $answered) = (now(), 0, 0);
    # One process for each request that is under way, at most 50.
    my $under_way = 0;
    while (now() < $begin + $seconds) {
        my $wait = $begin + $asked / $rate - now();
        select undef, undef, undef, $wait if $wait > 0;
        while ($under_way && (my $child = waitpid -1, $under_way < 50 ? 1 : 0) > 0) { $under_way--; $answered++ unless $? }
        $asked++;
        my $child = fork;
        if (!$child) { exit !(once(\&get))[0] }
        $under_way++;
    }
    while ($under_way-- && wait > 0) { $answered++ unless $? }
    line('load.asked', $asked);
    line('load.answered', $answered);
    line('load.seconds', sprintf '%.2f', now() - $begin);
}
elsif ($what eq 'rate') {
    my ($url, $seconds) = @given;
    my ($answered, $over, $socket) = (0, 0);
    $SIG{ALRM} = sub { $over = 1; die "over\n" };
    my $begin = now();
    alarm $seconds;
    # Each request after the answer to the one before it, on one connection for as long as the server keeps it.
    eval {
        my (undef, $host, $port, $request) = asked('');
        while (1) {
            $socket ||= dial($host, $port);
            syswrite $socket, $request;
            my ($good, $open) = answer($socket);
            die "it answers with another status than 200\n" unless $good;
            $answered++;
            undef $socket unless $open;
        }
    };
    alarm 0;
    chomp(my $error = $@);
    line('rate.error', $error) unless $over;
    line('rate.answered', $over ? $answered : 0);
    line('rate.seconds', sprintf '%.2f', now() - $begin);
}
