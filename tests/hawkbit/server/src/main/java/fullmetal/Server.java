package fullmetal;

import org.eclipse.hawkbit.autoconfigure.security.EnableHawkbitManagedSecurityConfiguration;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;

/** A Hawkbit server for tests: DDI and Management API, nothing else. */
@SpringBootApplication
@EnableHawkbitManagedSecurityConfiguration
public class Server {
    /** Starts the server; every setting comes from the command line. */
    public static void main(final String[] args) {
        SpringApplication.run(Server.class, args);
    }
}
